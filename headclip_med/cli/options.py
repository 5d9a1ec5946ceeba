"""Commands as classes: their fields are the options, and ``--set`` reaches every other setting.

tyro makes an option from a field's name, its type and the string below it. Of the settings that a
command takes, those that people use are options of their own; the others are ``--set NAME=VALUE``.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar
from typing import get_type_hints as hints_of

import tyro
from pydantic import TypeAdapter, ValidationError
from tyro.conf import UseAppendAction

from headclip_med.cli.values import (
    field_docstrings,
    settings_text,
    shown,
    value_of,
    with_any_word,
    words_of,
)
from headclip_med.errors import InvalidSettings, nearest

T = TypeVar("T")

MARKERS = (tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)


class Takes(NamedTuple):
    """Settings that a command takes.

    Attributes:
        settings: Their class, a dataclass with a string below each field.
        options: Fields that are options of their own.
    """

    settings: type
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """What every command has; a command's docstring is its description.

    Attributes:
        takes: Settings that it takes.
        common: Options that ``--help`` shows; ``--help-all`` shows every one.
        decisive: Options that decide about the defaults of others.
        takes_own_file: Whether the file of ``--config`` is the command's own, and holds no options.
        given: Values of ``takes`` that were given as options, by field.
        command_line: The arguments, as they were given.
    """

    takes: ClassVar[tuple[Takes, ...]] = ()
    common: ClassVar[tuple[str, ...]] = ()
    decisive: ClassVar[tuple[str, ...]] = ()
    takes_own_file: ClassVar[bool] = False

    set: Annotated[tuple[str, ...], UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """Any other setting of --help-all; may be repeated."""
    config: Path | None = None
    """Take options from this YAML or JSON file; those given here win."""
    json: bool = False
    """Print results as JSON."""
    quiet: bool = False
    """Say nothing but results and errors."""
    verbose: bool = False
    """Log what goes on."""
    debug: bool = False
    """Log more, and show where it failed."""
    help_all: bool = False
    """Show every option and setting."""
    given: Mapping[str, object] = field(default_factory=dict)
    command_line: tuple[str, ...] = ()

    def run(self) -> int:
        """Do the work, and give the exit code."""
        raise NotImplementedError

    @classmethod
    def defaults(cls, named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Give all settings that the command takes, with the values that hold when none is given.

        Args:
            named: The options of ``decisive``.

        Raises:
            HeadClipError: They lead nowhere.
        """
        return tuple(one.settings() for one in cls.takes)

    def changes(self, settings: Any) -> dict[str, Any]:
        """Collect what was given of some settings, as options and by ``--set``.

        Args:
            settings: Their class, or an instance.
        """
        hints = hints_of(settings if isinstance(settings, type) else type(settings))
        found = {name: value for name, value in self.given.items() if name in hints}
        for name, text in map(_name_and_text, self.set):
            if name in hints:
                found[name] = value_of(text, hints[name])
        return found

    def settings(self, settings: type[T], base: T | None = None) -> T:
        """Build settings from what was given, the rest from ``base`` or the class's defaults.

        Raises:
            InvalidSettings: A value is outside its type or range.
        """
        changes = self.changes(settings)
        if base is None:
            return settings(**changes)
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]

    def refuse_unknown_settings(self) -> None:
        """Check the names of ``--set``.

        Raises:
            InvalidSettings: One is no setting of this command; those that are, are named.
        """
        named = {name: getattr(self, name) for name in self.decisive}
        known = [one.name for settings in self.defaults(named) for one in fields(settings)]
        for name, _ in map(_name_and_text, self.set):
            if name not in known:
                raise InvalidSettings(
                    f"There is no setting '{name}' here.{self.elsewhere(name)}",
                    f"{nearest(name, known)}Choose one of {', '.join(dict.fromkeys(known))}.",
                    code="unknown-setting",
                )

    @classmethod
    def words(cls) -> dict[str, str]:
        """Give what stands in braces in the strings below the fields."""
        return {}

    def check(self) -> None:
        """Refuse what can be refused before anything heavy is imported.

        Raises:
            HeadClipError: Something that was named is not there, or of no use.
        """

    def elsewhere(self, name: str) -> str:
        """Say where a setting belongs that the command does not take, if anywhere."""
        return ""


@dataclass(frozen=True)
class _Option:
    """One option: what tyro is told of it."""

    name: str
    hint: Any
    text: str
    default: Any = MISSING
    shown: str | None = None

    def field(self, *, is_shown: bool) -> tuple[str, Any, Any]:
        """Give the field that tyro reads."""
        how: dict[str, Any] = {"help": self.text}
        if self.default is not MISSING:
            is_silent = self.shown is None and (
                isinstance(self.default, bool) or self.default in (None, ())
            )
            default = shown(self.default) if self.shown is None else self.shown
            how["help_behavior_hint"] = "" if is_silent else f"(default: {default})"
        marks = () if is_shown else (tyro.conf.Suppress,)
        kept = field() if self.default is MISSING else field(default=self.default)
        return self.name, Annotated[(self.hint, tyro.conf.arg(**how), *marks)], kept


C = TypeVar("C", bound=Command)


def parse(kind: type[C], arguments: Sequence[str], *, prog: str) -> C:
    """Parse a command's arguments; asked for help, print it and exit.

    Args:
        kind: The command.
        arguments: Without the command's name.
        prog: What help calls the command.

    Raises:
        InvalidSettings: ``--set`` names a setting that there is not, or ``--config`` is of no use.
        SystemExit: Help was printed (0), or an argument is wrong (2), which was said on stderr.
    """
    first = _first_look(kind, arguments)
    options = list(_options(kind, first))
    asks, everything = {"-h", "--help", "--help-all"} & {*arguments}, "--help-all" in arguments
    form = _form(kind, options, (*kind.common, "help_all") if asks and not everything else None)
    if not asks:
        _refuse_unknown_words(kind, options, arguments)
    found: object
    try:
        found = tyro.cli(
            form, args=["--help"] if asks else arguments, prog=prog, config=MARKERS,
            description=inspect.getdoc(kind),
        )  # fmt: skip
    except SystemExit:
        if everything:
            print(settings_text(_usual(kind, first), {one.name for one in options}))
        raise
    values = dict(vars(found))
    own = {one.name for one in fields(kind)}
    given = {name: value for name, value in values.items() if name not in own}
    command = kind(
        **{name: value for name, value in values.items() if name in own},
        given={name: value for name, value in given.items() if value is not None},
        command_line=(prog.rpartition(" ")[2], *arguments),
    )
    command.refuse_unknown_settings()
    return command


def _refuse_unknown_words(
    kind: type[Command], options: Sequence[_Option], arguments: Sequence[str]
) -> None:
    """Answer a word that is none of those to choose from with the nearest.

    tyro names all of them, in no order; so words are looked at first, with any word accepted.
    """
    limited = {one.name: words for one in options if (words := words_of(one.hint))}
    if not limited:
        return
    form = _form(kind, [replace(one, hint=with_any_word(one.hint)) for one in options], None)
    try:
        found = vars(tyro.cli(form, args=arguments, config=MARKERS, console_outputs=False))
    except SystemExit:  # something else is wrong, which tyro says best
        return
    for name, words in limited.items():
        given = found[name] if isinstance(found[name], tuple) else (found[name],)
        for word in given:
            if isinstance(word, str) and word not in words:
                raise InvalidSettings(
                    f"'{word}' is none of the words for {name.replace('_', ' ')}.",
                    f"{nearest(word, words)}Choose one of {', '.join(words)}.",
                    code="unknown-word",
                )


def form_of(kind: type[Command]) -> type:
    """Give a command's options as a class for tyro, as where all commands are completed."""
    return _form(kind, list(_options(kind, {})), None)


def _form(kind: type[Command], options: Sequence[_Option], shown: Sequence[str] | None) -> type:
    # Suppressed options would be refused as well, so this is for help alone.
    made = [one.field(is_shown=shown is None or one.name in shown) for one in options]
    form = dataclasses.make_dataclass(kind.__name__, made, kw_only=True)
    form.__doc__ = kind.__doc__
    return form


def _options(kind: type[Command], first: Mapping[str, Any]) -> Iterator[_Option]:
    """List a command's options, its own before those that all commands have."""
    hints = hints_of(kind, include_extras=True)
    texts = {name: text.format(**kind.words()) for name, text in field_docstrings(kind).items()}
    own = {one.name: one for one in fields(kind) if one.name in texts}
    if not kind.takes:
        del own["set"]
    mine = [name for name in own if name not in {one.name for one in fields(Command)}]
    for name in mine:
        yield _Option(name, hints[name], texts[name], first.get(name, own[name].default))
    usual = {one.name: getattr(settings, one.name) for settings in _usual(kind, first)
             for one in fields(settings)}  # fmt: skip
    for settings, names in kind.takes:
        kinds, words = hints_of(settings), field_docstrings(settings)
        for name in names:
            value, default = usual.get(name), first.get(name)
            stated = value if default is None else default
            note = None if stated is None else shown(stated)
            if kinds[name] is bool:  # a flag, which is given where it is not as by default
                yield _Option(name, bool, words[name], stated)
            else:
                yield _Option(name, kinds[name] | None, words[name], default, note)
    for name in own:
        if name not in mine:
            yield _Option(name, hints[name], texts[name], first.get(name, own[name].default))


def _usual(kind: type[Command], first: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give the settings' defaults in use, as far as the arguments tell."""
    own = {one.name: one.default for one in fields(kind)}
    return kind.defaults({name: first.get(name, own[name]) for name in kind.decisive})


def _first_look(kind: type[Command], arguments: Sequence[str]) -> dict[str, Any]:
    """Find the options that decide about defaults: the file of ``--config``, and ``decisive``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("config", *kind.decisive):
        parser.add_argument(f"--{name}", nargs="?")
    seen = {k: v for k, v in vars(parser.parse_known_args(arguments)[0]).items() if v is not None}
    path = seen.pop("config", None)
    holds_options = path is not None and not kind.takes_own_file
    return {**(_from_file(kind, Path(path)) if holds_options else {}), **seen}


def _from_file(kind: type[Command], path: Path) -> dict[str, Any]:
    """Read a file of options.

    Raises:
        InvalidSettings: It cannot be read, or holds what is no option, or a value of another type.
    """
    import yaml

    try:
        stated = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidSettings(
            "The file of --config cannot be read.",
            "Name one in YAML or JSON, such as 'window: brain'.",
            code="config-unreadable",
        ) from error
    if not isinstance(stated, dict):
        raise InvalidSettings(
            "The file of --config holds no options.",
            "Write one a line, such as 'window: brain'.",
            code="config-unreadable",
        )
    hints = {one.name: one.hint for one in _options(kind, {}) if one.name not in _NOT_IN_FILES}
    return {key: _of_file(key, value, hints) for key, value in
            ((str(key).replace("-", "_"), value) for key, value in stated.items())}  # fmt: skip


_NOT_IN_FILES = ("config", "help_all")


def _of_file(name: str, value: object, hints: Mapping[str, Any]) -> Any:
    if name not in hints:
        raise InvalidSettings(
            f"The file of --config has '{name}', which is no option of this command.",
            f"Choose of {', '.join(hints)}; other settings stand below 'set'.",
            code="unknown-option",
        )
    if name == "set" and isinstance(value, dict):
        value = [f"{key}={shown(one)}" for key, one in value.items()]
    try:
        return TypeAdapter(hints[name]).validate_python(value)
    except ValidationError as error:
        raise InvalidSettings(
            f"The file of --config gives '{name}' a value of another kind.",
            "See --help-all for what it takes.",
            code="wrong-option",
        ) from error


def _name_and_text(given: str) -> tuple[str, str]:
    name, equals, text = given.partition("=")
    if not equals:
        raise InvalidSettings(
            f"--set needs a name and a value, and '{given}' has no '='.",
            "Write it as --set overlap=0.25.",
            code="unknown-setting",
        )
    return name.strip().replace("-", "_"), text.strip()
