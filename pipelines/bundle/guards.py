"""What stops a bundle's run before it starts, with a sentence and an exit code that is not 0.

Left alone, MONAI accepts any override, a folder without images and a misspelt window, does nothing,
and exits with 0.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from monai.bundle.config_parser import ConfigParser
from monai.bundle.scripts import create_workflow
from monai.bundle.workflows import ConfigWorkflow

from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput
from headclip_med.models.loading import choose_device
from headclip_med.read import Failure
from headclip_med.settings import ScoreSettings, ScreenSettings, TrainSettings
from headclip_med.transforms import check_window

TRACKING_KEYS = frozenset(
    {"tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"}
)
"""What MONAI's ``--tracking`` may be told, and adds by itself."""


@contextmanager
def reported_errors() -> Iterator[None]:
    """Let errors of this project end ``python -m monai.bundle`` with their sentence alone.

    MONAI would bury them in the tracebacks of its parser. In a Python program they are raised.
    """
    try:
        yield
    except HeadClipError as error:
        if not is_command_line():
            raise
        sys.stderr.write(f"headclip: {error}\n")
        raise SystemExit(2 if isinstance(error, InvalidSettings) else 1) from error


def is_command_line() -> bool:
    """Tell whether this process was started as ``python -m monai.bundle``."""
    return Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def screen_settings(*, window: Any = "auto", **settings: Any) -> ScreenSettings:
    """Build the settings of a screening from a configuration's plain values.

    Args:
        window: As a text, or as the pair of numbers that a command line makes of ``40,80``.
        settings: The other fields of ``ScreenSettings``.

    Raises:
        InvalidSettings: The window is unknown, or a number is out of its range.
    """
    with reported_errors():
        text = window if isinstance(window, str) else ",".join(str(part) for part in window)
        check_window(text)
        return ScreenSettings(window=text, **settings)


def train_settings(**settings: Any) -> TrainSettings:
    """Build the settings of a training from a configuration's plain values.

    Args:
        settings: Fields of ``TrainSettings``.

    Raises:
        InvalidSettings: A number is out of its range.
    """
    with reported_errors():
        return TrainSettings(**settings)


def score_settings(**settings: Any) -> ScoreSettings:
    """Build how maps become scores from a configuration's plain values.

    Args:
        settings: Fields of ``ScoreSettings``.

    Raises:
        InvalidSettings: A number is out of its range.
    """
    with reported_errors():
        return ScoreSettings(**settings)


def check_inputs(dataset_dir: Any, datalist: Sequence[dict[str, Any]]) -> None:
    """Refuse to run where there is nothing to screen.

    Args:
        dataset_dir: What was named: one path or several.
        datalist: As ``find_cases`` found it there.

    Raises:
        UnreadableInput: A path does not exist, or there is no image below it.
    """
    with reported_errors():
        if any(not path.exists() for path in paths_of(dataset_dir)):
            raise UnreadableInput(
                "dataset_dir does not exist, so nothing was written.",
                "Give the folder or file with DICOM, NIfTI, PNG or JPEG images as --dataset_dir.",
                code="missing-path",
            )
        if not any(_counts(case["image"]) for case in datalist):
            raise UnreadableInput(
                "dataset_dir holds no image, so nothing was written.",
                "Give a folder or file with DICOM, NIfTI, PNG or JPEG images as --dataset_dir.",
                code="no-images",
            )


def check_device(device: Any) -> None:
    """Refuse a device that this machine does not have.

    Args:
        device: Its name, or the device.

    Raises:
        InvalidSettings: There is no such device here.
    """
    with reported_errors():
        choose_device(str(device))


def check_overrides() -> None:
    """Refuse an override that no configuration has: MONAI takes a misspelt one without a word.

    Raises:
        InvalidSettings: One is unknown.
    """
    files, given = _creation()
    if files is not None:
        refuse_unknown(given, files)


def refuse_unknown(given: Iterable[str], files: Any) -> None:
    """Refuse names that are no top-level key of some configuration files.

    Args:
        given: Names of overrides, with the path below the key or without.
        files: As MONAI takes them: one path, or several, later ones over earlier.

    Raises:
        InvalidSettings: One is unknown.
    """
    known = {str(key) for key in ConfigParser.load_config_files(files)}
    allowed = known | TRACKING_KEYS | {ConfigParser.meta_key}
    with reported_errors():
        for name in given:
            key = name.replace("::", "#").partition("#")[0].lstrip("+~")
            if key not in allowed:
                near = get_close_matches(key, sorted(known), n=1)
                hint = f"did you mean '{near[0]}'?" if near else "see the top of that file."
                raise InvalidSettings(
                    f"'{key}' is no key of the bundle's configuration.",
                    f"{hint}",
                    code="unknown-override",
                )


def paths_of(dataset_dir: Any) -> list[Path]:
    """Give the paths that a configuration's value names: one, or several."""
    many = dataset_dir if isinstance(dataset_dir, (list, tuple)) else [dataset_dir]
    return [Path(str(one)).expanduser() for one in many]


def _counts(one: Any) -> bool:
    return not isinstance(one, Failure) or one.is_error


def _creation() -> tuple[Any, list[str]]:
    """Find the files and overrides of the workflow that is being initialised.

    Configurations cannot see them, and MONAI mixes them at once; only the call that creates the
    workflow knows which is which.
    """
    own = inspect.signature(ConfigWorkflow.__init__).parameters
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is create_workflow.__code__:
            given = [name for name in frame.f_locals["_args"] if name not in own]
            return frame.f_locals["config_file"], given
        frame = frame.f_back
    return None, []
