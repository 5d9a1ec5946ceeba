"""A file that ends the process which reads it costs itself: its neighbours are read by the next."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from headclip_med import mapped
from headclip_med.cli import main
from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read import DEFAULT_LIMITS, Input, find_inputs, read_volume
from headclip_med.read.isolation import isolated_each, isolated_reading, reader
from headclip_med.read.isolation.channel import Channel
from headclip_med.volume import SliceSource, Volume
from tests.bright import BrightModel, stand_in, write_inputs
from tests.phantoms import make_grid, make_voxels, write_phantom
from tests.read.isolation import faults

ROOT = Path(__file__).parents[3]
HASTY = dataclasses.replace(DEFAULT_LIMITS, seconds=1.0, memory_bytes=300_000_000)


def each(function: Callable[[Callable[[], object]], object], *items: Callable[[], object]) -> list:
    return isolated_each(function, items, HASTY)


def pid() -> int:
    return isolated_reading(faults.process_id, [], DEFAULT_LIMITS)


# --- one call ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", faults.ENDS)
def test_a_fault_ends_in_its_code_and_the_next_call_in_a_result(name: str) -> None:
    fault, code = faults.ENDS[name]
    started = time.monotonic()
    with pytest.raises(UnreadableInput) as caught:
        isolated_reading(fault, [], HASTY)
    assert caught.value.code == code
    assert caught.value.reason.endswith(".")
    assert caught.value.advice.endswith(".")
    assert "Zyxwvut" not in repr(caught.value)
    assert time.monotonic() - started < 10
    assert pid() != os.getpid()


def test_relative_paths_begin_where_this_process_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isolated_each(os.path.abspath, ["x"], DEFAULT_LIMITS) == [os.path.abspath("x")]  # noqa: PTH100
    monkeypatch.chdir(tmp_path)
    assert isolated_each(os.path.abspath, ["x"], DEFAULT_LIMITS) == [str(tmp_path / "x")]


def test_one_process_is_kept_for_many_calls_and_is_not_this_one() -> None:
    assert len({pid() for _ in range(5)} - {os.getpid()}) == 1


def test_of_many_calls_each_fault_costs_its_own() -> None:
    calls = [faults.process_id, faults.abort, faults.process_id, faults.exhaust, faults.crash]
    calls += [faults.forget, faults.process_id]
    found = each(reader.call_itself, *calls)
    codes = [one.code if isinstance(one, HeadClipError) else "read" for one in found]
    assert codes == [
        "read", "reader-lost", "read", "reader-memory", "reader-lost", "unexpected", "read",
    ]  # fmt: skip


def test_what_a_decoder_prints_is_seen_by_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HeadClipError):
        isolated_reading(faults.talk, [], HASTY)
    assert capfd.readouterr() == ("", "")


def test_what_is_not_ours_is_not_taken_from_a_process_that_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here, there = socket.socketpair()
    for harm in (faults.Harm(), subprocess.Popen, len, faults.abort, reader.call_itself):
        Channel(there, is_trusting=True).send(harm)
        with pytest.raises(pickle.UnpicklingError):
            Channel(here, is_trusting=False).receive()
    assert list(tmp_path.iterdir()) == []
    here.close()
    there.close()


def test_the_clock_goes_by_the_size_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(1_000_000))
    slow = dataclasses.replace(HASTY, seconds=0.2, bytes_per_second=100)
    assert isolated_reading(partial(time.sleep, 1), [tmp_path / "large"], slow) is None
    with pytest.raises(UnreadableInput, match="0 seconds"):
        isolated_reading(partial(time.sleep, 5), [tmp_path / "absent"], slow)


# --- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize("slices", [3, 20])
def test_a_large_volume_is_handed_over_by_its_file_and_not_copied(slices: int) -> None:
    voxels = mapped.allocate((slices, 512, 512))
    voxels[...] = np.arange(512)
    grid = make_grid(shape=voxels.shape)
    volume = Volume(voxels, grid, (SliceSource(Path("x")),) * slices, "nifti")
    here, there = socket.socketpair()
    there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    if slices == 20:
        Channel(there, is_trusting=False).send(volume)
        found = Channel(here, is_trusting=False).receive()
        assert found.content_digest == volume.content_digest
        found.voxels[0, 0, 0] = -7  # the same pages, not a copy of them
        assert voxels[0, 0, 0] == -7
    else:
        assert mapped.file_of(voxels) is None
    here.close()
    there.close()


def test_a_view_of_a_file_is_sent_as_what_it_shows() -> None:
    array = mapped.allocate((20, 512, 512))
    for view in (array[::-1], array[2:], array.transpose(0, 2, 1)):
        assert mapped.file_of(view) is None


def test_a_volume_larger_than_its_memory_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "large"
    write_phantom(folder, make_grid(shape=(120, 512, 512)))  # 126 MB as it is read
    tight = dataclasses.replace(DEFAULT_LIMITS, memory_bytes=80_000_000)
    assert read_volume(folder, limits=tight).voxels[0, 0, 1] == 2000


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_open(tmp_path: Path) -> None:
    write_phantom(tmp_path, make_grid(shape=(20, 512, 512)))
    read_volume(tmp_path)
    before = open_files()
    for _ in range(3):
        read_volume(tmp_path)
        with pytest.raises(UnreadableInput):
            isolated_reading(faults.abort, [], HASTY)
    pid()
    assert open_files() == before


def test_the_process_that_asks_has_no_parser(tmp_path: Path) -> None:
    write_phantom(tmp_path)
    asked = (
        "import sys; from pathlib import Path; from headclip_med.read import find_inputs; "
        f"(one,) = find_inputs([Path({str(tmp_path)!r})]).readable; one.read(); "
        "print('pydicom' in sys.modules, 'imagecodecs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr


# --- folders -------------------------------------------------------------------------------------


@pytest.fixture
def _faulty_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headclip_med.read.dicom.find._header", faults.header_or_fault)


@pytest.mark.usefixtures("_faulty_headers")
def test_a_header_that_ends_its_process_costs_one_file_of_a_folder(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path / "ct")
    wanted = {}
    for number, (name, (_, code)) in enumerate(faults.ENDS.items()):
        bad = tmp_path / f"ct/{name}-{number}.dcm"
        bad.write_bytes(paths[0].read_bytes())
        wanted[bad] = code
    found = find_inputs([tmp_path], limits=HASTY)
    assert {failure.path: failure.code for failure in found.failures} == wanted
    np.testing.assert_array_equal(found.readable[0].read().voxels, make_voxels())


@pytest.fixture
def _faulty_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of a picture that is called after a fault meet it."""
    from headclip_med.read import find

    wrapped = find._in_own_process

    def wrap(one: Input, limits: object) -> Input:
        fault = faults.ENDS.get(one.paths[0].stem)
        swapped = dataclasses.replace(one, reader=fault[0]) if fault else one
        return wrapped(swapped, HASTY)

    monkeypatch.setattr(find, "_in_own_process", wrap)


@pytest.mark.usefixtures("_faulty_decoder")
@pytest.mark.parametrize("command", ["screen", "batch"])
def test_a_volume_that_ends_its_process_costs_itself(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, BrightModel)
    folder = write_inputs(tmp_path / "in")
    for name in faults.ENDS:
        (folder / f"{name}.png").write_bytes((folder / "dim.png").read_bytes())
    assert main([command, str(folder), "--out", str(tmp_path / "out")]) == 3
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["screened"], summary["failed"]) == (3, len(faults.ENDS))
    codes = {one["input"]: one["code"] for one in summary["failures"]}
    assert codes == {f"{name}.png": code for name, (_, code) in faults.ENDS.items()}
    assert (tmp_path / "out/index.html").exists()


# --- programs of any kind ------------------------------------------------------------------------

READS = """
import sys, time
from headclip_med import read_volume
print(read_volume(sys.argv[1]).voxels.shape, flush=True)
"""


def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        **options,
    )  # type: ignore[call-overload, no-any-return]


def test_a_script_without_a_main_guard_a_command_and_a_pipe_can_read(tmp_path: Path) -> None:
    write_phantom(tmp_path / "ct")
    (tmp_path / "script.py").write_text(READS)
    place = str(tmp_path / "ct")
    for arguments in ([str(tmp_path / "script.py"), place], ["-c", READS, place]):
        done = run(arguments, cwd=tmp_path)
        assert (done.stdout, done.stderr) == ("(5, 6, 7)\n", "")
    done = run(["-", place], input=READS)
    assert (done.stdout, done.stderr) == ("(5, 6, 7)\n", "")


def test_a_process_that_reads_brings_no_torch(tmp_path: Path) -> None:
    write_phantom(tmp_path)
    (found,) = find_inputs([tmp_path]).readable
    found.read()
    modules = Path(f"/proc/{pid()}/maps").read_text()
    assert "libtorch" not in modules


WAITS = """
import signal, sys, threading
from functools import partial
from headclip_med.read import DEFAULT_LIMITS
from headclip_med.read.isolation import isolated_reading
from tests.read.isolation import faults
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
print(isolated_reading(faults.process_id, [], DEFAULT_LIMITS), flush=True)
fault = getattr(faults, sys.argv[1])
if sys.argv[2] == "thread":
    threading.Thread(
        target=partial(isolated_reading, fault, [], DEFAULT_LIMITS), daemon=True
    ).start()
    threading.Event().wait()
isolated_reading(fault, [], DEFAULT_LIMITS)
"""


@pytest.mark.parametrize("place", ["main", "thread"])
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_reads_ends_with_the_one_it_reads_for(
    ending: signal.Signals, place: str
) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", WAITS, "hang", place],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert program.stdout is not None
    child = int(program.stdout.readline())
    time.sleep(0.2)
    program.send_signal(ending)
    program.wait(timeout=10)
    program.stdout.close()
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_copy_of_a_process_starts_readers_of_its_own() -> None:
    ours = pid()
    here, there = os.pipe()
    if (child := os.fork()) == 0:
        os.write(there, b"different" if pid() not in (ours, os.getpid()) else b"same")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(here, 100) == b"different"
    assert pid() == ours
    os.close(here)
    os.close(there)


def test_a_reader_that_does_not_start_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_readers", reader._Pool())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UnreadableInput) as caught:
        pid()
    assert caught.value.code == "reader-not-started"


def test_without_a_process_of_its_own_it_is_read_here() -> None:
    here = dataclasses.replace(DEFAULT_LIMITS, isolated=False)
    assert isolated_reading(faults.process_id, [], here) == os.getpid()
