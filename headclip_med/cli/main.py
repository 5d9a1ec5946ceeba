"""The parser, and what happens to errors."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import headclip_med
from headclip_med.cli import (
    batch,
    bundle,
    datasets,
    demo,
    evaluate,
    experiment,
    screen,
    train,
    weights,
)
from headclip_med.errors import HeadClipError, InvalidSettings, reason_of

COMMANDS = (demo, screen, batch, train, evaluate, experiment, datasets, weights, bundle)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    arguments.command_line = tuple(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if arguments.debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    for noisy in ("pydicom", "PIL", "matplotlib", "highdicom"):
        # Their messages may quote what stands in a patient's file.
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        with _ended_in_order():
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # 'headclip ... | head': the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (HeadClipError, OSError) as error:
        if arguments.debug:
            raise
        return _tell(error, as_json=arguments.json)
    except KeyboardInterrupt:
        print("headclip: stopped; what was finished is kept.", file=sys.stderr)
        return 1
    return code


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

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headclip",
        description="Find what looks abnormal in medical images. RESEARCH ONLY - not for clinical "
        "use.",
    )
    parser.add_argument("--version", action="version", version=headclip_med.__version__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print results as JSON")
    shared.add_argument("--debug", action="store_true", help="log more, and show where it failed")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        summary = (command.__doc__ or "").partition("\n")[0]
        own = commands.add_parser(
            name, parents=[shared], help=summary, description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":  # 'python -m headclip_med' is the door; this one shall not be silent
    sys.exit(main())
