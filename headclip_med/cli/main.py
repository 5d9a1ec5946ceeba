"""The parser, and what happens to errors."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import make_dataclass
from types import FrameType
from typing import Annotated, Any, Union

import tyro
from tyro.conf import subcommand

import headclip_med
from headclip_med.cli.bundle import Bundle
from headclip_med.cli.calibrate import Calibrate
from headclip_med.cli.datasets import Datasets
from headclip_med.cli.evaluate import Compare, Evaluate
from headclip_med.cli.experiment import Reproduce, RunExperiment
from headclip_med.cli.options import MARKERS, Command, form_of, parse
from headclip_med.cli.screen import Demo, Screen
from headclip_med.cli.service.batch import ScreenBatch
from headclip_med.cli.service.report import ShowWorklist
from headclip_med.cli.service.serve import Serve
from headclip_med.cli.service.view import OpenPage
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.cli.train import Train
from headclip_med.cli.weights import Weights
from headclip_med.errors import HeadClipError, InvalidSettings, named_extras, nearest, reason_of

COMMANDS: Mapping[str, type[Command]] = {
    "demo": Demo,
    "screen": Screen,
    "batch": ScreenBatch,
    "view": OpenPage,
    "serve": Serve,
    "report": ShowWorklist,
    "calibrate": Calibrate,
    "train": Train,
    "evaluate": Evaluate,
    "compare": Compare,
    "experiment": RunExperiment,
    "reproduce": Reproduce,
    "datasets": Datasets,
    "weights": Weights,
    "bundle": Bundle,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    debug, as_json = "--debug" in arguments, "--json" in arguments
    VOICE.is_quiet = "--quiet" in arguments
    logging.basicConfig(
        stream=sys.stderr, level=_level(arguments), format="%(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("pydicom", "PIL", "matplotlib", "highdicom"):
        # Their messages may quote what stands in a patient's file.
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        with _ended_in_order(), named_extras():
            code = _parse(arguments).run()
        sys.stdout.flush()
    except BrokenPipeError:  # 'headclip ... | head': the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (HeadClipError, OSError) as error:
        if debug:
            raise
        return _tell(error, as_json=as_json)
    except KeyboardInterrupt as ended:
        print("headclip: stopped; what was finished is kept.", file=sys.stderr)
        return 128 + (ended.args[0] if ended.args else signal.SIGINT)
    return code


def _level(arguments: Sequence[str]) -> int:
    """Choose what is logged, by the most talkative option that is given."""
    levels = {"--debug": logging.DEBUG, "--verbose": logging.INFO, "--quiet": logging.ERROR}
    return next((levels[one] for one in levels if one in arguments), logging.WARNING)


def _tell(error: HeadClipError | OSError, *, as_json: bool) -> int:
    """Say in one line what went wrong, and give the exit code."""
    if isinstance(error, OSError):
        error = HeadClipError(
            f"A file or folder cannot be used, since the system says: {reason_of(error)}.",
            "Check permissions and free space, or run again with --debug to see which.",
            code="system-refused",
        )
    if as_json:
        print(
            json.dumps(
                {"error": {"code": error.code, "reason": error.reason, "advice": error.advice}}
            )
        )
    print(f"headclip: {error}", file=sys.stderr)
    return 2 if isinstance(error, InvalidSettings) else 1


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Take the system's request to end (SIGTERM) as Ctrl-C, so that runs are closed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # whoever has the main thread decides about signals
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _parse(arguments: Sequence[str]) -> Command:
    """Find the command, and parse what follows it; help, completion and errors are tyro's."""
    if arguments and arguments[0] in COMMANDS:
        name = arguments[0]
        return parse(COMMANDS[name], arguments[1:], prog=f"headclip {name}")
    if arguments[:1] == ["--version"]:
        print(headclip_med.__version__)
        raise SystemExit(0)
    if arguments and not arguments[0].startswith("-"):
        raise InvalidSettings(
            f"There is no command '{arguments[0]}'.",
            f"{nearest(arguments[0], COMMANDS)}Choose one of {', '.join(COMMANDS)}.",
            code="unknown-command",
        )
    tyro.cli(_all_commands(arguments), args=arguments, prog="headclip", config=MARKERS)
    raise SystemExit(2)  # never reached: only a command's name is accepted


def _all_commands(arguments: Sequence[str]) -> Any:
    """Give all commands as one form: with their options for a shell's completion, else without."""
    completes = any(one.startswith("--tyro-") for one in arguments)
    known = [
        Annotated[
            form_of(kind) if completes else make_dataclass(name, []),
            subcommand(name, description=(kind.__doc__ or "").partition("\n")[0]),
        ]
        for name, kind in COMMANDS.items()
    ]
    command: Any = Union[tuple(known)]  # noqa: UP007 - made of a list
    options: list[Any] = [("command", command), ("version", bool, False)]
    form = make_dataclass("headclip", options, kw_only=True)
    form.__doc__ = (
        "Find what looks abnormal in medical images. RESEARCH ONLY - not for clinical use."
    )
    return form


if __name__ == "__main__":  # 'python -m headclip_med' is the door; this one shall not be silent
    sys.exit(main())
