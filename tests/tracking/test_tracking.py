"""Tracking: what was recorded is read back through MLflow's own client."""

from __future__ import annotations

import getpass
import json
import logging
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

import headclip_med
from headclip_med import load_model
from headclip_med.cli import main
from headclip_med.datasets import open_dataset
from headclip_med.errors import HeadClipError, InvalidSettings, UnusableTracker, UnusableWeights
from headclip_med.evaluation.models import evaluate_models
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.header import MODELS
from headclip_med.pipelines.evaluate import SetRecord, runs_of_methods
from headclip_med.tracking import TrackingOptions, registered_checkpoint, track
from headclip_med.tracking.client import revision
from headclip_med.tracking.options import flattened, to_name, to_text
from headclip_med.tracking.run import BATCH
from headclip_med.tracking.tracker import RunLocks
from tests import tiny
from tests.pipelines.test_train import mvtec_folder

EMBEDDED_CHECKPOINT = MODELS / "headclip-mini.checkpoint.safetensors"

PATIENT = "Smith^John"
"""As it may stand in the name of an input's folder or file."""

STEPS = 1_200


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingOptions]:
    """One database for this file: to make one takes seconds."""
    folder = tmp_path_factory.mktemp("tracker")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield TrackingOptions(uri=f"sqlite:///{folder / 'runs.db'}")


@pytest.fixture(scope="module")
def client(tracker: TrackingOptions) -> MlflowClient:
    with track("nothing", options=tracker):
        pass
    return MlflowClient(tracking_uri=tracker.uri, registry_uri=tracker.uri)


@pytest.fixture(scope="module")
def trained(tracker: TrackingOptions, client: MlflowClient) -> Any:
    """A run with all that a run can have, as the client reads it."""
    parameters = {
        "settings": {"epochs": 15, "local_layers": (4, 5), "weights": None},
        "data": Path(f"/data/{PATIENT}/scan"),
        "spec": f"mvtec:/data/{PATIENT}/set one",
    }
    tags = {"backbone.digest": "ab" * 32, "looked at": f"see '/data/{PATIENT}/x.png'"}
    with track("train", options=tracker, parameters=parameters, tags=tags) as run:
        for step in range(STEPS):
            run.metrics({"step/loss": 1 / (step + 1)}, step=step)
        run.metrics({"screw/pixels/AUROC": 0.75, "Magnetic Tile (all)": 0.5, "no": float("nan")})
        run.dataset("screw", "cd" * 32, use="training")
        figure = Figure()
        figure.subplots().plot([1, 2])
        run.figure(figure, "heads.png")
        run.image(np.full((4, 6, 3), 7, dtype=np.uint8), "overlays/0.png")
        run.text("| table |", "table.md")
        run.artifact(EMBEDDED_CHECKPOINT, "checkpoint")
        with run.child("sigma=4", {"sigma": 4}) as child:
            child.metrics({"AUROC": 0.7})
        with pytest.raises(ValueError, match="has a child 'sigma=4' already"), run.child("sigma=4"):
            pass
    assert run.is_recording
    return client.get_run(run.id)


def runs_of(client: MlflowClient, experiment: str) -> list[Any]:
    """Runs of an experiment, the oldest first."""
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], order_by=["start_time ASC"]))


def test_what_was_set_is_read_back(trained: Any) -> None:
    assert trained.data.params == {
        "settings.epochs": "15",
        "settings.local_layers": "[4, 5]",
        "settings.weights": "null",
        "data": "<path>",
        "spec": "mvtec:<path>",
    }
    assert trained.info.status == "FINISHED"
    assert trained.info.end_time >= trained.info.start_time


def test_every_step_of_a_curve_is_read_back(client: MlflowClient, trained: Any) -> None:
    curve = client.get_metric_history(trained.info.run_id, "step/loss")
    assert [point.step for point in curve] == list(range(STEPS))
    assert [point.value for point in curve] == [1 / (step + 1) for step in range(STEPS)]


def test_undefined_numbers_are_left_out(trained: Any) -> None:
    last = {name: value for name, value in trained.data.metrics.items() if name != "step/loss"}
    assert last == {"screw/pixels/AUROC": 0.75, "Magnetic Tile _all_": 0.5}


def test_a_run_says_what_it_was_computed_with(trained: Any) -> None:
    tags = trained.data.tags
    assert tags["version.headclip_med"] == headclip_med.__version__
    assert torch.__version__.startswith(tags["version.torch"])
    assert tags["backbone.digest"] == "ab" * 32
    assert tags.get("mlflow.source.git.commit") == revision()
    assert tags["dataset.screw"] == "cd" * 32
    (used,) = trained.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("screw", ("cd" * 32)[:36])
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]


def test_files_are_read_back(client: MlflowClient, trained: Any, tmp_path: Path) -> None:
    root = Path(client.download_artifacts(trained.info.run_id, "", str(tmp_path)))
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert files == {
        "heads.png", "overlays/0.png", "table.md", f"checkpoint/{EMBEDDED_CHECKPOINT.name}",
    }  # fmt: skip
    kept = root / "checkpoint" / EMBEDDED_CHECKPOINT.name
    assert kept.read_bytes() == EMBEDDED_CHECKPOINT.read_bytes()
    assert (root / "table.md").read_text() == "| table |"


def test_files_lie_beside_the_database(tracker: TrackingOptions, trained: Any) -> None:
    database = tracker.database
    assert database
    assert (database.parent / "mlruns/train" / trained.info.run_id).is_dir()
    assert list(Path.cwd().iterdir()) == [], "and not in whatever folder is the current one"


def test_a_child_lies_below_its_parent(client: MlflowClient, trained: Any) -> None:
    children = [
        run
        for run in runs_of(client, "train")
        if run.data.tags.get("mlflow.parentRunId") == trained.info.run_id
    ]
    (child,) = children
    assert child.info.run_name == f"{trained.info.run_name}/sigma=4"
    assert child.data.params == {"sigma": "4"}
    assert child.data.metrics == {"AUROC": 0.7}
    assert child.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status", "tag"),
    [
        (
            UnusableWeights(f"/data/{PATIENT}", code="weights-mismatch"),
            "FAILED",
            "weights-mismatch",
        ),
        (RuntimeError(f"/data/{PATIENT}"), "FAILED", "RuntimeError"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_stops_early_says_how(
    error: BaseException, status: str, tag: str, tracker: TrackingOptions, client: MlflowClient
) -> None:
    def stopped() -> None:
        with track(tag, options=tracker) as run:
            run.metrics({"loss": 0.5}, step=7)
            with run.child("inner"):
                raise error

    with pytest.raises(type(error)):
        stopped()
    for ended in runs_of(client, tag):
        assert ended.info.status == status
        assert ended.data.tags["headclip.error"] == tag
    outer, inner = runs_of(client, tag)
    assert inner.info.run_name == f"{outer.info.run_name}/inner"
    assert outer.data.metrics == {"loss": 0.5}, "what was waiting to be written is not lost"


ENDLESS = """
import sys, time
from headclip_med.cli import main
from headclip_med.cli.evaluate import Evaluate
from headclip_med.tracking import track

def run(command):
    with track(sys.argv[2], options=command.tracked) as run, run.child("inner"):
        print("begun", flush=True)
        time.sleep(60)

Evaluate.run = run
sys.exit(main(["evaluate", "--tracking-uri", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("end", "code", "before", "error"),
    [
        (signal.SIGTERM, 143, "KILLED", "KeyboardInterrupt"),
        (signal.SIGKILL, -signal.SIGKILL, "RUNNING", "process-gone"),
    ],
)
def test_a_run_whose_process_is_ended_is_killed(
    end: signal.Signals, code: int, before: str, error: str, tracker: TrackingOptions,
    client: MlflowClient,
) -> None:  # fmt: skip
    options = [str(tracker.uri), f"ended by {end.name}"]
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        with track("meanwhile", options=tracker):
            pass
        process.send_signal(end)
        assert process.wait(30) == code
    finally:
        process.kill()
        process.communicate()
    assert [run.info.status for run in runs_of(client, options[1])] == [before] * 2
    with track("afterwards", options=tracker):
        pass
    for run in runs_of(client, options[1]):
        assert run.info.status == "KILLED"
        assert run.data.tags["headclip.error"] == error
    assert runs_of(client, "meanwhile")[-1].info.status == "FINISHED"


HOLD = """
import sys
from pathlib import Path
from headclip_med.tracking.tracker import RunLocks

locks = RunLocks(Path(sys.argv[1]))
print(locks.take("theirs"), flush=True)
input()
"""


def test_only_a_run_whose_process_is_known_to_be_gone_is_taken_over(tmp_path: Path) -> None:
    own, later = RunLocks(tmp_path), RunLocks(tmp_path)
    assert own.take("mine")
    assert not later.take_over("mine"), "its process is this one"
    assert not later.take_over("another machine's, or of before the restart")
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "True\n"
        assert not later.take_over("theirs")
    finally:
        process.kill()
        process.communicate()
    assert later.take_over("theirs")
    assert not own.take_over("theirs"), "another start closes it already"
    later.release("theirs")
    own.release("mine")
    assert list(tmp_path.iterdir()) == []


def test_where_locks_cannot_be_had_no_run_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    locks = RunLocks(tmp_path / "file")
    assert not locks.take("mine")
    assert not locks.take_over("mine")
    locks.release("mine")


def test_no_two_runs_share_a_name(tracker: TrackingOptions, client: MlflowClient) -> None:
    named = TrackingOptions(uri=tracker.uri, run_name="50 % try")
    for options in (tracker, named, tracker, named, named):
        with track("names", options=options):
            pass
    names = [run.info.run_name for run in runs_of(client, "names")]
    assert sorted(name for name in names if "%" in name) == [
        "50 % try", "50 % try-2", "50 % try-3",
    ]  # fmt: skip
    assert len(set(names)) == 5


def test_nothing_betrays_a_machine_a_user_or_a_patient(
    tracker: TrackingOptions, client: MlflowClient, trained: Any
) -> None:
    assert trained.info.run_id
    with pytest.raises(FileNotFoundError), track("betrayal", options=tracker):
        Path(f"/nowhere/{PATIENT}.dcm").read_bytes()
    database = tracker.database
    assert database
    locations = ("artifact_location", "artifact_uri", "source", "storage_location")
    user, host = f'"{getpass.getuser()}"', f'"{socket.gethostname()}"'
    folders = (str(database.parent), str(Path.cwd()), str(Path.home()))
    secrets = (PATIENT, "Smith", user, host, "test_tracking.py", *folders)
    for place, text in stored_text(database):
        if not place.endswith(locations):
            assert not [secret for secret in secrets if secret in text], place
    for path in (database.parent / "mlruns").rglob("*"):
        if path.is_file():
            content = path.read_bytes().decode("latin-1")
            assert not [secret for secret in secrets if secret in content], path
    assert client.get_run(trained.info.run_id).info.user_id == "unknown"


def stored_text(database: Path) -> Iterator[tuple[str, str]]:
    """All values of all tables, quoted."""
    with sqlite3.connect(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            rows = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - its own names
            columns = [column[0] for column in rows.description]
            for row in rows:
                yield from (
                    (f"{table}.{column}", f'"{value}"')
                    for column, value in zip(columns, row, strict=True)
                )
    connection.close()


def test_numbers_are_written_many_at_a_time(
    tracker: TrackingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = MlflowClient.log_batch

    def counted(self: MlflowClient, run_id: str, **given: Any) -> None:
        sizes.append(len(given.get("metrics", ())))
        real(self, run_id, **given)

    with track("batches", options=tracker) as run:
        monkeypatch.setattr(MlflowClient, "log_batch", counted)
        for step in range(BATCH * 2 + 3):
            run.metrics({"loss": 1.0}, step=step)
        assert sizes == [BATCH, BATCH]
    assert sizes == [BATCH, BATCH, 3]


def test_a_tracker_that_fails_costs_numbers_and_not_the_computation(
    tracker: TrackingOptions, client: MlflowClient, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def down(*_: object, **__: object) -> None:
        raise MlflowException(f"cannot reach /data/{PATIENT}")

    with caplog.at_level(logging.WARNING), track("down", options=tracker) as run:
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "log_batch", down)
            patch.setattr(MlflowClient, "log_text", down)
            for step in range(BATCH):
                run.metrics({"loss": 1.0}, step=step)
            run.text("text", "text.md")
        run.metrics({"loss": 2.0}, step=BATCH)
    (ended,) = runs_of(client, "down")
    history = client.get_metric_history(ended.info.run_id, "loss")
    assert len(history) == BATCH + 1, "what could not be written is tried again"
    assert ended.info.status == "FINISHED"
    assert "the tracker does not answer" in caplog.text
    assert PATIENT not in caplog.text


def test_a_parameter_never_changes(tracker: TrackingOptions) -> None:
    with track("constant", options=tracker, parameters={"epochs": 1}) as run:
        run.parameters({"epochs": 1, "seed": 3})
        with pytest.raises(ValueError, match="epochs was recorded already"):
            run.parameters({"epochs": 2})


def test_a_deleted_experiment_says_so(tracker: TrackingOptions, client: MlflowClient) -> None:
    with track("gone", options=tracker):
        pass
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    with pytest.raises(UnusableTracker, match="'gone' was deleted"), track("gone", options=tracker):
        pass


def test_an_experiment_that_was_begun_at_a_server_needs_it(
    tracker: TrackingOptions, client: MlflowClient
) -> None:
    client.create_experiment("served", artifact_location="mlflow-artifacts:/99")
    begun = track("served", options=tracker)
    with pytest.raises(UnusableTracker, match="begun at a server"), begun:
        pass
    assert runs_of(client, "served") == []


def test_a_database_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    options = TrackingOptions(uri=f"sqlite:///{tmp_path}/file/runs.db")
    with pytest.raises(UnusableTracker, match="--no-tracking"), track("train", options=options):
        pass
    (tmp_path / "runs.db").write_text("no database " * 99)
    options = TrackingOptions(uri=f"sqlite:///{tmp_path}/runs.db")
    begun = track("train", options=options)
    with pytest.raises(UnusableTracker, match="cannot be opened") as raised, begun:
        pass
    assert str(tmp_path) not in str(raised.value)


@pytest.fixture(scope="module")
def registered(tracker: TrackingOptions, client: MlflowClient) -> list[str | None]:
    """The embedded checkpoint, registered twice; the second is the champion."""
    names = []
    for _ in range(2):
        with track("register", options=tracker) as run:
            names.append(run.register(EMBEDDED_CHECKPOINT, "headclip", {"method": "headclip"}))
    client.set_registered_model_alias("headclip", "champion", "2")
    return names


def test_a_registered_model_is_the_checkpoint(
    tracker: TrackingOptions, client: MlflowClient, registered: list[str | None]
) -> None:
    assert registered == ["models:/headclip/1", "models:/headclip/2"]
    images = tiny.images(2, 112)
    own = load_model(EMBEDDED_CHECKPOINT, device="cpu")
    for name in ("models:/headclip/1", "models:/headclip@champion"):
        found = load_model(name, device="cpu", tracking_uri=tracker.uri)
        torch.testing.assert_close(found.predict(images).map, own.predict(images).map)
        about = found.describe()
        assert about["checkpoint_digest"] == own.describe()["checkpoint_digest"]
    assert about["name"] == "headclip-2"
    assert client.get_model_version("headclip", "1").tags["method"] == "headclip"


def test_mlflow_loads_a_registered_model_by_itself(
    client: MlflowClient, registered: list[str | None]
) -> None:
    from mlflow import pyfunc

    version = client.get_model_version("headclip", "1")
    model = pyfunc.load_model(version.source)
    images = tiny.images(2, 112)
    found = model.predict(images.numpy())
    own = load_model(EMBEDDED_CHECKPOINT).predict(images)
    np.testing.assert_allclose(found["map"], own.map.cpu(), atol=1e-6)
    np.testing.assert_allclose(found["global_score"], own.global_score.cpu(), atol=1e-6)
    files = Path(version.source.removeprefix("file://")).rglob("*")
    assert not [path for path in files if path.suffix in (".pkl", ".pt", ".pth", ".bin")]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("models:/headclip/9", UnusableWeights, "The tracker has no models:/headclip/9."),
        ("models:/other/1", UnusableWeights, "The tracker has no models:/other/1."),
        ("models:/headclip@nobody", UnusableWeights, "The tracker has no models:/headclip@nobody"),
        ("models:/headclip", InvalidSettings, "Write models:/NAME/VERSION or models:/NAME@ALIAS"),
        ("models:/headclip/new", InvalidSettings, "Write models:/NAME/VERSION"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_do(
    name: str,
    error: type[HeadClipError],
    message: str,
    tracker: TrackingOptions,
    registered: list[str | None],
) -> None:
    with pytest.raises(error, match=message) as raised:
        load_model(name, tracking_uri=tracker.uri)
    assert "\n" not in str(raised.value)


def test_a_missing_database_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Image.new("L", (32, 32)).save("picture.png")
    arguments = ["screen", "picture.png", "--out", "results", "--model", "models:/headclip/1"]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headclip: There is no tracking database here")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_checkpoint_that_was_changed_is_refused(
    tracker: TrackingOptions, client: MlflowClient, tmp_path: Path
) -> None:
    with track("changed", options=tracker) as run:
        name = run.register(EMBEDDED_CHECKPOINT, "changed")
    assert name == "models:/changed/1"
    source = client.get_model_version("changed", "1").source
    (kept,) = Path(source.removeprefix("file://")).rglob("*.safetensors")
    kept.write_bytes(EMBEDDED_CHECKPOINT.read_bytes() + b" ")
    with pytest.raises(UnusableWeights, match="not the checkpoint that was registered"):
        load_model(name, tracking_uri=tracker.uri)


def test_a_fetched_checkpoint_is_gone_afterwards(
    tracker: TrackingOptions, registered: list[str | None]
) -> None:
    with registered_checkpoint("models:/headclip/1", tracker.uri) as path:
        assert path.name == "headclip-1.safetensors"
        assert path.read_bytes() == EMBEDDED_CHECKPOINT.read_bytes()
    assert not path.exists()


def test_a_run_that_is_switched_off_does_nothing() -> None:
    code = (
        "import sys, pathlib; from headclip_med.tracking import track, TrackingOptions\n"
        "with track('train', options=TrackingOptions(is_on=False)) as run:\n"
        "    run.metrics({'loss': 1.0}, step=2); run.parameters({'a': 1}); run.tags({'b': 2})\n"
        "    run.text('', 'a.md'); run.artifact(pathlib.Path('none'))\n"
        "    run.dataset('a', None, use='training')\n"
        "    assert run.register(pathlib.Path('none'), 'a') is None\n"
        "    with run.child('c', {'d': 1}) as child: child.metrics({'x': 1.0})\n"
        "    assert not run.is_recording and not child.is_recording and not child.name\n"
        "print(*(name for name in ('mlflow', 'numpy', 'torch') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_loads_no_tracker() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "headclip_med", "train", "--help-all"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--no-tracking" in done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "headclip_med.tracking" in modules
    assert not modules & {"mlflow", "torch"}


def test_of_several_processes_the_first_records(
    tracker: TrackingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with track("ranks", options=tracker) as run:
        assert not run.is_recording
    monkeypatch.setenv("RANK", "0")
    with track("ranks", options=tracker) as run:
        assert run.is_recording


def test_an_address_that_is_named_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert TrackingOptions(uri="sqlite:///mine.db").resolved_uri == "sqlite:///mine.db"
    assert TrackingOptions().resolved_uri == "http://localhost:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert TrackingOptions().resolved_uri == "sqlite:///mlflow.db"


@pytest.mark.parametrize("uri", ["mlruns", "/data/mlruns", "file:///data/mlruns", "sqlite:x.db"])
def test_folders_are_refused(uri: str) -> None:
    with pytest.raises(InvalidSettings, match="a database or a server"):
        _ = TrackingOptions(uri=uri).resolved_uri


@pytest.mark.parametrize("name", ["", "it's", "a/b", " a", "a\nb", 'a"b'])
def test_names_that_break_a_search_are_refused(name: str) -> None:
    with pytest.raises(InvalidSettings, match="--run-name"):
        TrackingOptions(run_name=name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("headclip-mini", "headclip-mini"),
        (0.1, "0.1"),
        (True, "true"),
        (None, "null"),
        ((1, 2), "[1, 2]"),
        ("train/loss", "train/loss"),
        ("1/2 and/or", "1/2 and/or"),
        ("https://example.org/a", "https://example.org/a"),
        (Path("relative/file"), "<path>"),
        ("/home/me/a b", "<path>"),
        ("~/a b", "<path>"),
        ("C:\\Users\\me", "<path>"),
        ("\\\\server\\share", "<path>"),
        ("file:///home/me", "<path>"),
        ("mvtec:/home/me", "mvtec:<path>"),
        ("--data=/home/me x", "--data=<path>"),
        (["/home/me", "b"], '["<path>'),
        ({"a": Path("b")}, '{"a": "<path>"}'),
    ],
)
def test_absolute_paths_are_blanked(value: object, text: str) -> None:
    assert to_text(value) == text


def test_nested_settings_become_one_level() -> None:
    values = {"model": {"deep (1)": {"tokens": 4}, "none": {}}, "seed": 0}
    assert dict(flattened(values)) == {"model.deep _1_.tokens": "4", "model.none": "{}",
                                       "seed": "0"}  # fmt: skip
    assert to_name("a//b/[c]") == "a/_/b/_c_"


def test_the_revision_is_that_of_the_packages_own_checkout(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *named, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    ours, other = tmp_path / "package/__init__.py", tmp_path / "venv/package/__init__.py"
    for path in (ours, other):
        path.parent.mkdir(parents=True)
        path.write_text("one\n")
    assert revision(ours) is None, "there is no repository"
    git("init", "-q")
    git("add", "package")
    git("commit", "-qm", "one")
    revision.cache_clear()
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40
    assert revision(ours) == commit
    assert revision(other) is None, "it lies in a repository that it does not belong to"
    revision.cache_clear()
    ours.write_text("two\n")
    assert revision(ours) == f"{commit}+changed"
    revision.cache_clear()


@pytest.fixture(scope="module")
def command(tracker: TrackingOptions, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What ``headclip train`` printed, after twelve small images; and how to evaluate on them."""
    folder = tmp_path_factory.mktemp("command") / PATIENT
    data = mvtec_folder(folder / "set", categories=("nut", "tile"))
    train = ["train", "--data", f"mvtec:{data}", "--out", str(folder / "out"), "--epochs", "2",
             "--batch-size", "4", "--set", "local_layers=4-6", "--device", "cpu", "--json",
             "--register", "nut", "--run-name", "first", "--tracking-uri", tracker.uri]  # fmt: skip
    evaluate = ["evaluate", f"mvtec:{data}", "--model", "models:/nut/1", "--device", "cpu",
                "--no-intervals", "--tracking-uri", str(tracker.uri)]  # fmt: skip
    with redirect_stdout(StringIO()) as out:
        assert main(train) == 0
    printed = json.loads(out.getvalue())
    return SimpleNamespace(folder=folder, data=data, evaluate=evaluate, printed=printed)


def test_a_training_is_recorded_and_registered(
    command: Any, client: MlflowClient, tmp_path: Path
) -> None:
    printed = command.printed
    assert printed["registered"] == "models:/nut/1"
    run = next(run for run in runs_of(client, "train") if run.info.run_name == "first")
    losses = client.get_metric_history(run.info.run_id, "epoch/loss")
    assert [(point.step, point.value) for point in losses] == list(enumerate(printed["losses"], 1))
    steps = client.get_metric_history(run.info.run_id, "step/loss")
    assert [point.step for point in steps] == [1, 2, 3, 4, 5, 6]
    assert run.data.metrics["threshold"] == printed["threshold"]
    assert run.data.params["training.epochs"] == "2"
    assert run.data.params["model.local_layers"] == "[4, 5, 6]"
    assert len(run.data.params["backbone.digest"]) == 64
    checkpoint = read_checkpoint(Path(printed["checkpoint"]))
    assert run.data.tags["checkpoint.digest"] == checkpoint.digest
    assert run.data.tags["dataset.mvtec"] == checkpoint.training["data"]["digest"]
    root = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    files = {path.relative_to(root).as_posix() for path in root.rglob("*.*")}
    samples = {f"samples/{number}.png" for number in (1, 2, 3, 4)}
    assert {"checkpoint/headclip.safetensors", "head_weights.png", *samples} <= files
    version = client.get_model_version("nut", "1")
    assert version.run_id == run.info.run_id
    assert version.tags["method"] == "headclip"
    assert version.tags["checkpoint_sha256"] == checkpoint.digest


def test_an_evaluation_of_a_registered_model_is_recorded(
    command: Any, client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.evaluate, "--json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    run = runs_of(client, "evaluate")[-1]
    numbers, rows = run.data.metrics, {(r["judge"], r["score"]): r for r in printed["rows"]}
    found = rows["model", "map"]["metrics"]["AUROC"]["value"]
    assert numbers["mvtec/pixels map exact/AUROC"] == found
    nut = next(row for row in printed["categories"]["nut"] if row["score"] == "joint")
    assert numbers["mvtec/nut/images joint exact/AP"] == nut["metrics"]["AP"]["value"]
    assert numbers["trivial/mvtec/centre prior/images local exact/AUROC"] == 0.5
    curve = client.get_metric_history(run.info.run_id, "mvtec/JAS/mAD over 100 r")
    assert [point.step for point in curve] == list(range(0, 101, 5))
    assert curve[0].value == rows["model", "local"]["metrics"]["mAD"]["value"]
    assert curve[-1].value == rows["model", "global"]["metrics"]["mAD"]["value"]
    trained = client.get_model_version("nut", "1").tags["checkpoint_sha256"]
    assert run.data.params["model.checkpoint_digest"] == trained
    root = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    files = {path.relative_to(root).as_posix() for path in root.rglob("*.*")}
    assert files == {
        "jas/mvtec.png", "tables/evaluation.json", "tables/evaluation.md",
        *(f"samples/mvtec/{number}.png" for number in (1, 2, 3, 4)),
    }  # fmt: skip


def test_two_sets_of_one_name_do_not_mix(
    command: Any, client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = mvtec_folder(tmp_path / "set", categories=("tile",))
    curves = tmp_path / "curves"
    sets, options = command.evaluate[:2], command.evaluate[2:]
    arguments = [*sets, f"mvtec:{other}", *options, "--set", f"curves={curves}"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "another set is called mvtec; this one is mvtec-2" in printed.err
    assert [line for line in printed.out.splitlines() if line.startswith("## ")] == [
        "## mvtec", "## mvtec-2",
    ]  # fmt: skip
    run = runs_of(client, "evaluate")[-1]
    assert run.data.metrics["mvtec/count/normal"] == 2 * run.data.metrics["mvtec-2/count/normal"]
    assert {tag for tag in run.data.tags if tag.startswith("dataset.")} == {
        "dataset.mvtec", "dataset.mvtec-2",
    }  # fmt: skip
    root = Path(client.download_artifacts(run.info.run_id, "samples", str(tmp_path)))
    assert {path.name for path in root.iterdir()} == {"mvtec", "mvtec-2"}
    assert {path.name for path in curves.iterdir() if path.is_dir()} == {"mvtec-2"}


def test_all_methods_have_a_run_each(
    command: Any, tracker: TrackingOptions, client: MlflowClient
) -> None:
    methods = {"one": load_model(EMBEDDED_CHECKPOINT, device="cpu"),
               "two": load_model("headclip-mini", method="winclip", device="cpu")}  # fmt: skip
    with track("methods", options=tracker) as run, runs_of_methods(run, methods) as runs:
        record = SetRecord(runs, [model.scores for model in methods.values()], "mvtec")
        how = EvaluationSettings(intervals=False, image_size=112)
        models = list(methods.values())
        found = evaluate_models(
            open_dataset(f"mvtec:{command.data}"), models, how, look=record.look
        )
        record.end(dict(zip(methods, found, strict=True)))
    parent, *children = runs_of(client, "methods")
    assert parent.data.metrics == {}
    assert [child.data.params["model.method"] for child in children] == ["headclip", "winclip"]
    for child, evaluation in zip(children, found, strict=True):
        own = next(row for row in evaluation.rows if row.score == "map")
        value = child.data.metrics["mvtec/pixels map exact/AUROC"]
        assert value == own.metrics["AUROC"].value


def test_screening_with_a_registered_model(
    command: Any, tracker: TrackingOptions, client: MlflowClient
) -> None:
    picture = command.data / "nut/test/scratch/000.png"
    for name in ("models:/nut/1", str(command.folder / "out/headclip.safetensors")):
        out = command.folder / f"screened{len(name)}"
        arguments = ["screen", str(picture), "--out", str(out), "--model", name, "--device", "cpu"]
        assert main([*arguments, "--tracking-uri", str(tracker.uri)]) == 0
    first, second = (
        json.loads(next(folder.glob("*/*/result.json")).read_text())
        for folder in sorted(command.folder.glob("screened*"))
    )
    assert first["slices"] == second["slices"]
    assert first["model"]["checkpoint_digest"] == second["model"]["checkpoint_digest"]
    assert client.get_experiment_by_name("screen") is None, "who sees patients records nothing"


def test_what_commands_recorded_betrays_nothing(command: Any, tracker: TrackingOptions) -> None:
    database = tracker.database
    assert database
    for place, text in stored_text(database):
        assert PATIENT not in text, place
        assert str(command.folder) not in text, place
        assert "000.png" not in text, place
    for path in (database.parent / "mlruns").rglob("*"):
        if path.is_file():
            assert PATIENT.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        (["--register", "nut", "--no-tracking"], "--register needs the tracker"),
        (["--register", "a/b"], "A registered model's name is made of letters"),
        (["--run-name", "it's"], "Choose another --run-name"),
        (["--tracking-uri", "mlruns"], "no longer records into plain folders"),
    ],
)
def test_wrong_options_are_told_before_anything_is_trained(
    options: list[str], saying: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", f"mvtec:{command.data}", "--out", str(command.folder / "none")]
    assert main(["train", *data, "--device", "cpu", *options]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert saying in printed[-1]
    assert not (command.folder / "none").exists()
