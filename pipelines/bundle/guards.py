"""What stops a bundle's run before it starts, with a sentence and an exit code that is not 0.

Left alone, MONAI accepts any override, does nothing with a misspelt one, and exits with 0; and what
this project has to say of a mistake, it buries in the tracebacks of its parser.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from types import TracebackType
from typing import Any

from monai.bundle.config_parser import ConfigParser
from monai.bundle.scripts import create_workflow
from monai.bundle.workflows import ConfigWorkflow

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.models.loading import choose_device
from headclip_med.pipelines.bundle.folder import CONFIGS

COMMAND = "monai.bundle.__main__"
"""The module that ``python -m monai.bundle`` runs."""

TRACKING_KEYS = frozenset(
    {"tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"}
)
"""What MONAI's ``--tracking`` may be told, and adds by itself."""


def start(device: Any) -> None:
    """Check what a run was told: the first step of every configuration's ``initialize``.

    From here on, an error of this project that nobody catches ends MONAI's command with its
    sentence alone, and with 2 where an option is wrong, else with 1.

    Args:
        device: A name, or the device.

    Raises:
        InvalidSettings: An override belongs to no key, or this machine has no such device.
    """
    if is_command():
        sys.excepthook = _end_with_a_sentence
    files, given = _creation()
    if files is not None:
        refuse_unknown(given, files)
    choose_device(str(device))


def is_command() -> bool:
    """Tell whether this process is ``python -m monai.bundle``: Python notes what it was given."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == COMMAND


class ScreenWorkflow(ConfigWorkflow):
    """Screens what lies below ``dataset_dir``, as ``configs/inference.json`` says.

    Args:
        workflow_type: Is ``infer``; MONAI's commands name it.
        logging_file: As MONAI takes it; the bundle's own by default.
        override: Keys of the configuration: ``dataset_dir``, ``output_dir``, ``window``, ...

    Raises:
        InvalidSettings: The configuration has no such key.
    """

    def __init__(
        self,
        workflow_type: str | None = "infer",
        logging_file: str | bool | None = None,
        **override: Any,
    ) -> None:
        file = str(CONFIGS / "inference.json")
        refuse_unknown(override, file)
        super().__init__(
            config_file=file, workflow_type=workflow_type, logging_file=logging_file, **override
        )


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
    for name in given:
        key = name.replace("::", "#").partition("#")[0].lstrip("+~")
        if key not in allowed:
            near = get_close_matches(key, sorted(known), n=1)
            raise InvalidSettings(
                f"'{key}' is no key of the bundle's configuration.",
                f"Did you mean '{near[0]}'?" if near else "See the top of that file.",
                code="unknown-override",
            )


def cause_of(error: BaseException) -> HeadClipError | None:
    """Find this project's own error among those that MONAI raised from it, if there is one."""
    one: BaseException | None = error
    while one is not None and not isinstance(one, HeadClipError):
        one = one.__cause__
    return one


def _end_with_a_sentence(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    own = cause_of(error)
    if own is None:
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(f"headclip: {own}\n")
    raise SystemExit(2 if isinstance(own, InvalidSettings) else 1)


def _creation() -> tuple[Any, list[str]]:
    """Give the files and overrides that the workflow being initialised is created with.

    MONAI mixes them before it reads a configuration, and hands neither on: no expression can ask
    for them. Only the call of its public ``create_workflow`` that is under way holds both.
    """
    own = inspect.signature(ConfigWorkflow.__init__).parameters
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is create_workflow.__code__:
            given = [name for name in frame.f_locals["_args"] if name not in own]
            return frame.f_locals["config_file"], given
        frame = frame.f_back
    return None, []
