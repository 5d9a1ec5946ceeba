"""Senders that try again until each instance is acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association


def associate(port: int, title: str = "SENDER", called: str = "HEADCLIP") -> Association:
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    return entity.associate("127.0.0.1", port, ae_title=called)


def send(port: int, paths: Sequence[Path]) -> list[int]:
    """Send over one association, and give the statuses."""
    association = associate(port)
    assert association.is_established
    try:
        return [int(association.send_c_store(dcmread(one)).get("Status", -1)) for one in paths]
    finally:
        association.release()


def send_until_taken(port: int, paths: Sequence[Path], pause_s: float = 0.0) -> threading.Thread:
    """Send in a thread, again and again where the receiver is gone."""

    def work() -> None:
        left = list(paths)
        while left:
            association = associate(port)
            try:
                while left and association.is_established:
                    status = association.send_c_store(dcmread(left[0]))
                    if status.get("Status") != 0x0000:
                        break
                    left.pop(0)
                    time.sleep(pause_s)
            except (RuntimeError, ValueError):
                pass
            if association.is_established:
                association.release()
            if left:
                time.sleep(0.2)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
