"""The configuration of the service: one TOML file, all of it checked before anything runs.

Whatever is wrong is told with its line; nothing in it is ever run as code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from headclip_med.errors import HeadClipError, InvalidSettings, nearest, reason_of
from headclip_med.models.request import ModelRequest
from headclip_med.pipelines.service.delivery.destinations import Destination
from headclip_med.pipelines.service.intake.settings import (
    PullSettings,
    ReceiverSettings,
    WatchSettings,
)
from headclip_med.pipelines.service.rules import Condition, Rule
from headclip_med.pipelines.service.settings import WorkSettings
from headclip_med.pipelines.service.worklist.settings import PageSettings
from headclip_med.pipelines.work.building import ScreenerPlan
from headclip_med.settings import NotNegative, Positive, ScreenSettings, Settings, Words, checked

T = TypeVar("T", bound=Settings)


@checked
class ServiceSettings(WorkSettings):
    """``[service]``: where all of it stands, and when a series is complete."""

    out: Words = "results"
    """Folder of results and of what came in."""
    database: Words | None = None
    """Address of a Postgres server, for several machines; by default a file in ``out``."""
    outputs: Annotated[tuple[Words, ...], Field(min_length=1)] | None = None
    """What is written of a series; as ``headclip screen`` by default."""
    quiet_s: Positive = 60.0
    """A series is complete when nothing came for so long; what comes later is a new revision."""
    calibration: Words | None = None
    """What ``headclip calibrate`` wrote, for p-values."""
    site: Words | None = None
    """As the calibration names it."""
    room_gb: NotNegative = 1.0
    """That stays free on the disk: before that, senders are told that there is no room."""


@dataclass(frozen=True)
class Configuration:
    """All of the file.

    Attributes:
        service: ``[service]``.
        model: ``[model]``.
        screen: ``[screen]``.
        receiver: ``[receiver]``; None where nothing is received.
        page: ``[page]``; None where there is no page.
        pulls: Every ``[[pull]]``.
        watches: Every ``[[watch]]``.
        destinations: Every ``[[destination]]``.
        rules: Every ``[[rule]]``, in their order.
    """

    service: ServiceSettings
    model: ModelRequest
    screen: ScreenSettings
    receiver: ReceiverSettings | None
    page: PageSettings | None
    pulls: tuple[PullSettings, ...]
    watches: tuple[WatchSettings, ...]
    destinations: tuple[Destination, ...]
    rules: tuple[Rule, ...]

    @property
    def out(self) -> Path:
        """The folder of results."""
        return Path(self.service.out).absolute()

    @property
    def spool(self) -> Path:
        """The folder of what came in."""
        return self.out / "spool"

    def plan_of(self, rule: Rule | None) -> ScreenerPlan:
        """Say how a series is screened that a rule suits.

        Raises:
            InvalidSettings: A window or an output is unknown.
        """
        from headclip_med.transforms import check_window
        from headclip_med.write import USUAL_OUTPUTS, check_outputs

        own = rule or Rule(name="all")
        settings = self.screen if own.window is None else replace(self.screen, window=own.window)
        check_window(settings.window)
        request = self.model if own.method is None else replace(self.model, method=own.method)
        calibration = self.service.calibration
        return ScreenerPlan(
            request=request, out=self.out, settings=settings,
            outputs=check_outputs(own.outputs or self.service.outputs or USUAL_OUTPUTS),
            calibration=None if calibration is None else Path(calibration),
            site=self.service.site, of_version=self.service.of_version,
        )  # fmt: skip

    def destinations_of(self, rule: Rule | None) -> tuple[str, ...]:
        """Name where the result of a series goes that a rule suits."""
        if rule is None or rule.destinations is None:
            return tuple(one.name for one in self.destinations)
        return rule.destinations


_ONE: Mapping[str, type[Settings]] = {
    "service": ServiceSettings, "model": ModelRequest, "screen": ScreenSettings,
    "receiver": ReceiverSettings, "page": PageSettings,
}  # fmt: skip
_MANY: Mapping[str, type[Settings]] = {
    "pull": PullSettings, "watch": WatchSettings, "destination": Destination, "rule": Rule,
}  # fmt: skip

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "service": ("out",), "receiver": ("allow",), "pull": ("name", "url"),
    "watch": ("name", "folder"), "destination": ("name",), "rule": ("name",),
}  # fmt: skip


def read_configuration(path: Path) -> Configuration:
    """Read and check a configuration; nothing it names is opened or connected to.

    Raises:
        InvalidSettings: Something is wrong; its line is named.
    """
    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise InvalidSettings(
            f"The configuration cannot be read: {reason_of(error)}.", "Name one with --config."
        ) from None
    except UnicodeDecodeError:
        raise InvalidSettings("The configuration is no UTF-8 text.", "Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:  # which says the line itself
        raise InvalidSettings(
            f"The configuration is no TOML: {error}.", "See toml.io.", code="bad-configuration"
        ) from None
    return _Tables(text.splitlines(), tables).read()


class _Tables:
    def __init__(self, lines: Sequence[str], tables: Mapping[str, Any]) -> None:
        self._lines, self._tables = lines, tables

    def read(self) -> Configuration:
        known = [*_ONE, *_MANY]
        for name in self._tables:
            if name not in known:
                raise self._at(
                    InvalidSettings(f"There is no table [{name}].",
                                    f"{nearest(name, known)}There are {', '.join(known)}."),
                    name, 0, None,
                )  # fmt: skip
        if "service" not in self._tables:
            raise InvalidSettings(
                "The configuration has no table [service].", 'Begin it with [service] and out = "".'
            )
        found = Configuration(
            service=self._one(ServiceSettings, "service"),
            model=self._one(ModelRequest, "model"),
            screen=self._one(ScreenSettings, "screen"),
            receiver=self._one(ReceiverSettings, "receiver") if self._has("receiver") else None,
            page=self._one(PageSettings, "page") if self._has("page") else None,
            pulls=self._many(PullSettings, "pull"),
            watches=self._many(WatchSettings, "watch"),
            destinations=self._many(Destination, "destination"),
            rules=self._many(Rule, "rule"),
        )
        self._check_names(found)
        self._check_plans(found)
        return found

    def _has(self, name: str) -> bool:
        return name in self._tables

    def _one(self, kind: type[T], name: str) -> T:
        table = self._tables.get(name, {})
        if not isinstance(table, Mapping):
            raise self._at(
                InvalidSettings(f"[{name}] is a table.", f"Begin it with [{name}]."), name, 0, None
            )
        return self._built(kind, table, name, 0)

    def _many(self, kind: type[T], name: str) -> tuple[T, ...]:
        tables = self._tables.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(one, Mapping) for one in tables):
            told = InvalidSettings(
                f"There may be several of [[{name}]].", f"Begin each with [[{name}]]."
            )
            raise self._at(told, name, 0, None)
        return tuple(self._built(kind, one, name, number) for number, one in enumerate(tables))

    def _built(self, kind: type[T], table: Mapping[str, Any], name: str, number: int) -> T:
        values = {key: _tuples(value) for key, value in table.items()}
        for needed in _NEEDED.get(name, ()):
            if not values.get(needed):
                told = InvalidSettings(f"[{name}] needs {needed}.", f"Write {needed} = ...")
                raise self._at(told, name, number, needed)
        if kind is Rule and isinstance(table.get("when"), Mapping):
            try:
                when = {key: _tuples(value) for key, value in table["when"].items()}
                values["when"] = Condition(**when)
            except InvalidSettings as error:
                raise self._at(error, name, number, error.field, "when") from None
        try:
            return kind(**values)
        except InvalidSettings as error:
            raise self._at(error, name, number, error.field) from None

    def _check_names(self, found: Configuration) -> None:
        """Refuse names twice, and destinations that are none."""
        for table in _MANY:
            names: list[str] = [one["name"] for one in self._tables.get(table, [])]
            for number, name in enumerate(names):
                if name in names[:number]:
                    told = InvalidSettings(
                        f"Two are called {name}.", "Give each a name of its own."
                    )
                    raise self._at(told, table, number, "name")
        known = [one.name for one in found.destinations]
        for number, rule in enumerate(found.rules):
            for name in rule.destinations or ():
                if name not in known:
                    told = InvalidSettings(
                        f"There is no destination {name}.",
                        f"{nearest(name, known)}Give it a [[destination]].",
                    )
                    raise self._at(told, "rule", number, "destinations")

    def _check_plans(self, found: Configuration) -> None:
        """Refuse windows, methods, outputs and models that there are not."""
        from headclip_med.transforms import check_window
        from headclip_med.write import check_outputs

        checks: list[tuple[str, int, str, Any]] = [
            ("screen", 0, "window", lambda: check_window(found.screen.window)),
            ("service", 0, "outputs", lambda: check_outputs(found.service.outputs or ())),
            ("model", 0, "name", lambda: found.plan_of(None).run_key),
        ]
        for number, rule in enumerate(found.rules):
            window, outputs = rule.window or "auto", rule.outputs or ()
            checks += [
                ("rule", number, "window", lambda window=window: check_window(window)),
                ("rule", number, "outputs", lambda outputs=outputs: check_outputs(outputs)),
                ("rule", number, "method", lambda rule=rule: found.plan_of(rule).run_key),
            ]
        for name, number, field, check in checks:
            try:
                check()
            except HeadClipError as error:
                raise self._at(error, name, number, field) from None
            except OSError as error:
                told = InvalidSettings(
                    f"The calibration cannot be read: {reason_of(error)}.", "Correct its path."
                )
                raise self._at(told, "service", 0, "calibration") from None

    def _at(
        self, error: HeadClipError, table: str, number: int, *names: str | None
    ) -> InvalidSettings:
        line = self._line(table, number, [one for one in names if one is not None])
        where = "" if line is None else f"Line {line} of the configuration: "
        return InvalidSettings(f"{where}{error.reason}", error.advice, code="bad-configuration")

    def _line(self, table: str, number: int, names: Sequence[str]) -> int | None:
        """Find the line of the first name that has one, else of its table's head, from 1."""
        head = re.compile(rf"\s*\[\[?\s*{re.escape(table)}\s*\]\]?\s*(#.*)?$")
        heads = [at for at, line in enumerate(self._lines) if head.match(line)]
        if number >= len(heads):
            return None
        start = end = heads[number]
        below = f"[{table}."
        for line in self._lines[start + 1 :]:
            if line.lstrip().startswith("[") and not line.lstrip().startswith(below):
                break
            end += 1
        for name in names:
            key = re.compile(
                rf"""\s*(\[{re.escape(table)}\.)?["']?{re.escape(name)}["']?\s*[=.\]]"""
            )
            for at in range(start + 1, end + 1):
                if key.match(self._lines[at]):
                    return at + 1
        return start + 1


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
