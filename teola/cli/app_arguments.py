"""Parses `APP --argument ...`: the arguments of the app, from its signature, and own options.

If both have a name, the plain name is refused: `--app-NAME` is the argument, `--run-NAME` the
option.
"""

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, NoReturn

from frontend_dsl.signature import MISSING, AppParameter
from teola.cli.failures import UsageError, message_of
from teola.cli.options import Option, find_target
from teola.cli.target import AnyApp, load_app
from teola.cli.values import Reader, default_text, reader_of

_VALUES = "argument:"  # before the name of an app's parameter in the namespace


@dataclass(frozen=True, slots=True)
class Command:
    """A command that takes an app."""

    prog: str
    about: str
    options: tuple[Option, ...]
    needs_all: bool = True  # else only the arguments that specialise the graph


@dataclass(frozen=True, slots=True)
class Invocation:
    app: AnyApp
    arguments: Mapping[str, Any]
    options: argparse.Namespace


def parse(command: Command, words: Sequence[str]) -> Invocation:
    """Load the app and read its arguments. Raises UsageError; `--help` prints and exits."""
    try:
        position = find_target(words, command.options)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if position is None:
        if "--help" in words or "-h" in words:
            _print_general_help(command)
        raise UsageError(f"which app? {command.prog} app.py:name; see {command.prog} --help")
    target = words[position]
    with redirect_stdout(sys.stderr):  # what a module prints when imported is no data
        app = load_app(target)
    return _AppParser(command, app, target).invocation([*words[:position], *words[position + 1 :]])


def parse_options(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """Of a command that takes no app. Raises UsageError; `--help` prints and exits."""
    parser = _Parser(command.prog, f"{command.prog} [options]", command.about)
    _add_options(parser, command, frozenset())
    return parser.parse_args(words)


def _print_general_help(command: Command) -> NoReturn:
    usage = f"{command.prog} APP [arguments of the app] [options]"
    epilog = (
        "APP is file.py:name or package.module:name; the name may be left out where there is one "
        f"app only. `{command.prog} APP --help` lists the arguments of that app. Where an argument "
        "and an option have one name, write --app-NAME or --run-NAME."
    )
    parser = _Parser(command.prog, usage, command.about, epilog)
    _add_options(parser, command, frozenset())
    parser.print_help()
    raise SystemExit(0)


class _Parser(argparse.ArgumentParser):
    def __init__(self, prog: str, usage: str, about: str | None, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=about,
            epilog=epilog,
            allow_abbrev=False,
            add_help=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34),
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _AppParser:
    def __init__(self, command: Command, app: AnyApp, target: str) -> None:
        self.command = command
        self.app = app
        self.readers = {p.name: reader_of(p.type) for p in app.parameters}
        own = {option.name for option in command.options} | {"help"}
        self.shared = frozenset(
            p.name for p in app.parameters if own & set(_names(p, self.readers[p.name]))
        )
        usage = f"{command.prog} {target} [arguments] [options]"
        self.parser = _Parser(command.prog, usage, inspect.getdoc(app))
        self._add_parameters()
        _add_options(self.parser, command, self._taken())

    def invocation(self, words: Sequence[str]) -> Invocation:
        options, rest = self.parser.parse_known_args(words)
        if rest:
            raise UsageError(self._unknown(rest))
        found = vars(options)
        values = {
            p.name: found.pop(_VALUES + p.name)
            for p in self.app.parameters
            if _VALUES + p.name in found
        }
        self._check_complete(values)
        return Invocation(self.app, values, options)

    def _add_parameters(self) -> None:
        group = self.parser.add_argument_group(f"arguments of {self.app.name}")
        for parameter in self.app.parameters:
            reader = self.readers[parameter.name]
            settings: dict[str, Any] = {"type": _argparse_type(reader), "metavar": reader.label}
            if reader.is_flag:
                settings = {"action": argparse.BooleanOptionalAction}
            elif reader.is_list:
                settings |= {"nargs": "*", "action": "extend"}
            group.add_argument(
                *self._flags(parameter),
                dest=_VALUES + parameter.name,
                default=argparse.SUPPRESS,
                help=_help(parameter),
                **settings,
            )

    def _flags(self, parameter: AppParameter) -> list[str]:
        prefix = "app-" if parameter.name in self.shared else ""
        plain = parameter.name.replace("_", "-")
        names = dict.fromkeys((plain, parameter.name, parameter.alias or plain))
        return [f"--{prefix}{name}" for name in names]

    def _taken(self) -> frozenset[str]:
        shared = [p for p in self.app.parameters if p.name in self.shared]
        return frozenset(name for p in shared for name in _names(p, self.readers[p.name]))

    def _unknown(self, rest: Sequence[str]) -> str:
        word = rest[0].partition("=")[0]
        if word.removeprefix("--") in self._taken():
            argument, option = f"--app-{word[2:]}", f"--run-{word[2:]}"
            return (
                f"{word} is an argument of {self.app.name} and an option of {self.command.prog}: "
                f"write {argument} for the argument, {option} for the option"
            )
        has = ", ".join(self._flags(p)[0] for p in self.app.parameters) or "none"
        if word.startswith("-"):
            return f"{self.app.name} has no argument {word}; it has {has}"
        return f"unexpected {word!r}: name each argument of {self.app.name} ({has})"

    def _check_complete(self, values: Mapping[str, Any]) -> None:
        missing = [
            f"{self._flags(p)[0]} ({self.readers[p.name].label})"
            for p in self.app.parameters
            if p.default is MISSING and p.name not in values
            if p.is_static or self.command.needs_all
        ]
        if missing:
            raise UsageError(f"{self.app.name} needs {', '.join(missing)}")


def _names(parameter: AppParameter, reader: Reader) -> list[str]:
    plain = parameter.name.replace("_", "-")
    return [plain, f"no-{plain}"] if reader.is_flag else [plain]


def _argparse_type(reader: Reader) -> Any:
    def read(word: str) -> Any:
        try:
            return reader.read(word)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(message_of(error)) from None

    return read


def _help(parameter: AppParameter) -> str:
    if parameter.default is MISSING:
        return "required"
    return f"default: {default_text(parameter.default)}".replace("%", "%%")


def _add_options(parser: _Parser, command: Command, taken: frozenset[str]) -> None:
    group = parser.add_argument_group(f"options of {command.prog}")
    group.add_argument("-h", "--help", action="help", help="show this help")
    for option in command.options:
        prefix = "run-" if option.name in taken else ""
        group.add_argument(f"--{prefix}{option.name}", **option.argparse_settings())
