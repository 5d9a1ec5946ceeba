"""Sending and asking by DICOMweb: STOW-RS, and QIDO-RS of series (PS3.18 10.5, 10.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread

from headclip_med.pipelines.service.delivery.destinations import Destination, DestinationFailed
from headclip_med.pipelines.service.delivery.objects import ResultObject
from headclip_med.pipelines.service.delivery.store_scu import unreachable

_COUNT = "00201209"  # NumberOfSeriesRelatedInstances
_DENIED = 401, 403


def send(destination: Destination, objects: Sequence[ResultObject]) -> None:
    """Send objects in one request; all were accepted where it returns.

    Raises:
        DestinationFailed: It cannot be reached, or did not take one of them.
    """
    with web_client(destination) as client:
        answer = client.store_instances([dcmread(one.path) for one in objects])
    taken = {str(one.ReferencedSOPInstanceUID) for one in _items(answer, "ReferencedSOPSequence")}
    for one in objects:
        if one.sop_instance_uid not in taken:
            raise DestinationFailed(
                f"The destination {destination.name} did not take an object ({one.output}).",
                "Look into the archive's log.",
                code="object-refused",
            )


def missing(destination: Destination, objects: Sequence[ResultObject]) -> frozenset[str]:
    """Ask for each series whether all of its objects are there; give the UIDs of those not.

    Archives answer for a series in a fraction of the time that its instances take. A series of
    ours holds one result, so its count tells.

    Raises:
        DestinationFailed: It cannot be reached, or does not answer what it was asked.
    """
    wanted = Counter((one.study_instance_uid, one.series_instance_uid) for one in objects)
    absent: set[str] = set()
    with web_client(destination) as client:
        for (study, series), count in wanted.items():
            found = client.search_for_series(
                study, fields=[_COUNT], search_filters={"SeriesInstanceUID": series}
            )
            if sum(_count(destination, one) for one in found) < count:
                absent |= {
                    one.sop_instance_uid for one in objects if one.series_instance_uid == series
                }
    return frozenset(absent)


@contextmanager
def web_client(destination: Destination) -> Iterator[DICOMwebClient]:
    """Open a client whose failures are the destination's; their own texts may hold an address.

    Raises:
        DestinationFailed: It cannot be reached, or refuses.
        InvalidSettings: Its credentials cannot be used.
    """
    with closing(requests.Session()) as session:
        session.trust_env = False  # no proxy and no password that nobody asked for
        session.verify = destination.tls_ca_file or True
        if destination.tls_certificate_file is not None:
            session.cert = (destination.tls_certificate_file, str(destination.tls_key_file))
        credentials = destination.credentials()
        if isinstance(credentials, str):
            session.headers["Authorization"] = f"Bearer {credentials}"
        else:
            session.auth = credentials
        client = DICOMwebClient(
            str(destination.url), session=session, timeout=destination.timeout_s
        )
        client.set_http_retry_params(retry=False)  # the queue does it, and remembers
        try:
            yield client
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            raise _refused(destination, status) from None
        except requests.RequestException:
            raise unreachable(destination) from None


def _refused(destination: Destination, status: int) -> DestinationFailed:
    if status in _DENIED:
        return DestinationFailed(
            f"The destination {destination.name} does not let us in (HTTP {status}).",
            "Check credentials_file and the rights of that user.",
            code="destination-denied",
            is_down=True,
        )
    return DestinationFailed(
        f"The destination {destination.name} refused the request (HTTP {status}).",
        "Look into the archive's log; check url.",
        code="object-refused",
        is_down=status >= 500,
    )


def _count(destination: Destination, series: Mapping[str, Any]) -> int:
    """Read how many instances a series of a QIDO-RS answer has."""
    try:
        return int(series[_COUNT]["Value"][0])
    except (KeyError, IndexError, TypeError, ValueError):
        raise DestinationFailed(
            f"The destination {destination.name} does not say how many instances a series has.",
            "Set verify to commitment.",
            code="not-confirmed",
        ) from None


def _items(answer: Dataset | None, keyword: str) -> Sequence[Dataset]:
    return [] if answer is None else answer.get(keyword) or []
