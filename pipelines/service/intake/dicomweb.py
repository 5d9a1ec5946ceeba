"""Pull from an archive: QIDO-RS says what series there are, WADO-RS gives what lacks here."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset

from headclip_med.errors import UnreadableInput
from headclip_med.pipelines.service.delivery.stow import web_client
from headclip_med.pipelines.service.intake.instances import Instance, hashed
from headclip_med.pipelines.service.intake.settings import PullSettings
from headclip_med.pipelines.service.intake.spool import Spool

STUDY, SERIES, COUNT = "0020000D", "0020000E", "00201209"
AS_STORED = (("application/dicom", "*"),)
"""Any other answer lets an archive transcode, which takes ten times as long."""


@dataclass(eq=False)
class Pull:
    """Compares an archive's series with those in the spool, and fetches the difference.

    This also reconciles: an archive that forgot to say that a series came says so here.

    Attributes:
        settings: Which archive.
        spool: Takes what is fetched.
    """

    settings: PullSettings
    spool: Spool
    _fetched: dict[str, int] = field(default_factory=dict, init=False)

    def look(self) -> int:
        """Fetch every series of which the archive has more than is here; give their number.

        Raises:
            DestinationFailed: The archive does not answer; the next look goes on.
            UnwritableOutput: The spool takes nothing.
        """
        fetched = 0
        with web_client(self.settings.as_destination()) as client:
            found = client.search_for_series(
                fields=[COUNT],
                search_filters={key: str(one) for key, one in self.settings.filters.items()},
                get_remaining=True,
            )
            for one in found:
                study, series = _value(one, STUDY), _value(one, SERIES)
                there = int(_value(one, COUNT) or 0)
                if study and series and self._lacks(study, series, there):
                    self._fetch(client, study, series)
                    self._fetched[series] = there
                    fetched += 1
        return fetched

    def _lacks(self, study: str, series: str, there: int) -> bool:
        # What was fetched and refused is not fetched again until the archive has more.
        if there and self._fetched.get(series) == there:
            return False
        folder = self.spool.data / hashed(study) / hashed(series)
        here = sum(1 for _ in folder.glob("*.dcm"))
        return here < there if there else not here

    def _fetch(self, client: DICOMwebClient, study: str, series: str) -> None:
        for dataset in client.iter_series(study, series, media_types=AS_STORED):
            try:
                instance = Instance.of(_file(dataset), source="dicomweb", peer=self.settings.name)
            except UnreadableInput:
                continue  # it is counted at the next look
            self.spool.keep(instance)


def _file(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _value(one: Mapping[str, Any], tag: str) -> str:
    values = one.get(tag, {}).get("Value") or [""]
    return str(values[0])
