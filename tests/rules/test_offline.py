"""The guard that keeps tests offline works, and leaves this machine reachable."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org"])
def test_reaching_another_machine_fails_with_a_sentence(host: str) -> None:
    with pytest.raises(RuntimeError, match="Tests run offline"):
        socket.create_connection((host, 80), timeout=1)
    with pytest.raises(RuntimeError, match="Tests run offline"), socket.socket() as raw:
        raw.connect((host, 80))


def test_this_machine_may_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
