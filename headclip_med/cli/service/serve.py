"""``headclip serve``: the service beside a PACS."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from headclip_med.cli.options import Command
from headclip_med.cli.service.batch import asked_to_end, executor_of
from headclip_med.errors import InvalidSettings

if TYPE_CHECKING:
    from headclip_med.pipelines.service.configuration import Configuration


@dataclass(frozen=True, kw_only=True)
class Serve(Command):
    """Receive, screen, send back and show, beside a PACS.

    All of it stands in one TOML file. Asked to end, it ends after the slice it is at; everything
    goes on at the next start. RESEARCH ONLY - not for clinical use.

    Examples:
      headclip serve --config service.toml --check
      headclip serve --config service.toml
    """

    common: ClassVar[tuple[str, ...]] = ("config", "only_check")
    takes_own_file: ClassVar[bool] = True

    config: Path | None = None
    """The service's configuration, a TOML file."""
    only_check: Annotated[bool, tyro.conf.arg(name="check")] = False
    """Say whether the configuration is right, and end."""

    def run(self) -> int:
        """Serve until asked to end."""
        if self.config is None:
            raise InvalidSettings("There is no configuration.", "Name a TOML file with --config.")
        from headclip_med.pipelines.service.configuration import read_configuration

        configuration = read_configuration(self.config)
        if self.only_check:
            print(_summary(configuration))
            return 0
        from headclip_med.pipelines.service.serve import serve

        for library in ("pynetdicom", "dicomweb_client", "urllib3", "uvicorn"):
            logging.getLogger(library).setLevel(logging.CRITICAL)  # they quote what passes by
        with asked_to_end() as asked:
            serve(
                configuration,
                lambda plan: executor_of(plan, configuration.service),
                lambda: asked.number is not None,
                lambda: print(f"headclip: {_summary(configuration)}", file=sys.stderr, flush=True),
            )
        print("headclip: ended; what is not done goes on at the next start.", file=sys.stderr)
        return 128 + (asked.number or 0)


def _summary(configuration: Configuration) -> str:
    """Say in a line what the service does."""
    receiver, page = configuration.receiver, configuration.page
    ways = [
        *([f"receives at {receiver.host}:{receiver.port} as {receiver.ae_title}"]
          if receiver else []),
        *(f"pulls from {one.name}" for one in configuration.pulls),
        *(f"watches {one.name}" for one in configuration.watches),
        _counted(len(configuration.rules), "rule"),
        _counted(len(configuration.destinations), "destination"),
        *([f"page at {page.host}:{page.port}"] if page else []),
    ]  # fmt: skip
    return "; ".join(ways)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
