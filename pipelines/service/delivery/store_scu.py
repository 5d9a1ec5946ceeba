"""Sending by DICOM: an association with an archive, and C-STORE over it (PS3.4 B, PS3.8)."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.presentation import PresentationContext
from pynetdicom.status import code_to_category

from headclip_med.pipelines.service.delivery.destinations import Destination, DestinationFailed
from headclip_med.pipelines.service.delivery.objects import ResultObject

# Its own handlers write what passes by into the log, patients' names too.
_config.LOG_HANDLER_LEVEL = "none"


def send(destination: Destination, objects: Sequence[ResultObject]) -> None:
    """Send objects over one association; all were accepted where it returns.

    Raises:
        DestinationFailed: It cannot be reached, or refused one of them.
    """
    with associate(destination, contexts_for(objects)) as association:
        for number, one in enumerate(objects, start=1):
            _store(destination, association, one, number)


def contexts_for(objects: Sequence[ResultObject]) -> list[PresentationContext]:
    """Propose each syntax that is there by itself, and the default one that PS3.5 10.1 asks for."""
    wanted: dict[tuple[str, str], None] = {}
    for one in objects:
        wanted[one.sop_class_uid, one.transfer_syntax_uid] = None
        if not UID(one.transfer_syntax_uid).is_compressed:
            wanted[one.sop_class_uid, ImplicitVRLittleEndian] = None
    return [build_context(kind, syntax) for kind, syntax in wanted]


@contextmanager
def associate(
    destination: Destination,
    contexts: Sequence[PresentationContext],
    handlers: Sequence[EventHandlerType] = (),
) -> Iterator[Association]:
    """Open an association, and release it in the end.

    Raises:
        DestinationFailed: It cannot be reached, or refuses us.
    """
    entity = AE(destination.ae_title)
    entity.acse_timeout = entity.dimse_timeout = destination.timeout_s
    entity.network_timeout = entity.connection_timeout = destination.timeout_s
    tls = destination.client_tls()
    host = str(destination.host)
    association = entity.associate(
        host,
        int(destination.port or 0),
        list(contexts),
        str(destination.called_ae_title),
        tls_args=None if tls is None else (tls, host),
        evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), *handlers],
    )
    if not association.is_established:
        raise _not_established(destination, association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def send_at_once(event: Event) -> None:
    """Keep the system from holding small packets back, which costs 40 ms an instance and side."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _store(
    destination: Destination, association: Association, one: ResultObject, number: int
) -> None:
    try:
        status = association.send_c_store(one.path, msg_id=number)
    except ValueError:
        raise DestinationFailed(
            f"The destination {destination.name} does not take this kind of object ({one.output}).",
            "Let the archive accept its SOP class and transfer syntax, or leave it out of the "
            "destination's outputs.",
            code="object-not-taken",
        ) from None
    except RuntimeError:  # the association ended between two objects
        raise unreachable(destination) from None
    if "Status" not in status:
        raise unreachable(destination)
    if code_to_category(status.Status) not in ("Success", "Warning"):
        raise DestinationFailed(
            f"The destination {destination.name} refused an object ({one.output}) with status "
            f"0x{status.Status:04X}.",
            "Look for this status in the archive's log.",
            code="object-refused",
        )


def _not_established(destination: Destination, association: Association) -> DestinationFailed:
    if association.is_rejected:
        return DestinationFailed(
            f"The destination {destination.name} refuses the association.",
            f"Let the archive know {destination.ae_title} at this machine, and check its own AE "
            "title.",
            code="association-refused",
            is_down=True,
        )
    if association.acceptor.primitive is not None and not association.accepted_contexts:
        return DestinationFailed(
            f"The destination {destination.name} takes none of the kinds of objects there are.",
            "Let the archive accept their SOP classes and transfer syntaxes.",
            code="object-not-taken",
        )
    return unreachable(destination)


def unreachable(destination: Destination) -> DestinationFailed:
    """Say that nobody answers, or no longer."""
    return DestinationFailed(
        f"The destination {destination.name} does not answer, or the connection broke.",
        "It is tried again by itself; check the address, the network and the archive.",
        code="destination-unreachable",
        is_down=True,
    )
