"""A command's own options as plain values, so that they can be told from the app's arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """`--name`, a switch, or with a metavar `--name VALUE`."""

    name: str
    help: str
    metavar: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # more for argparse

    @property
    def dest(self) -> str:
        return self.name.replace("-", "_")

    def argparse_settings(self) -> dict[str, Any]:
        """The keyword arguments of `add_argument`."""
        kind = {"action": "store_true"} if self.metavar is None else {"metavar": self.metavar}
        return {"dest": self.dest, "help": self.help, **kind, **self.settings}


COMMON = (
    Option("no-color", "plain text, as with the variable NO_COLOR"),
    Option("debug", "show the stack trace of an error"),
)


def find_target(words: Sequence[str], options: Sequence[Option]) -> int | None:
    """The position of the app among the words: the first that is no option nor an option's value.

    An option that is unknown here belongs to an app, so none of those may come first: ValueError.
    """
    names = {f"--{prefix}{option.name}": option for option in options for prefix in ("", "run-")}
    is_value = False
    for position, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if is_value:
            is_value = False
        elif not word.startswith("-"):
            return position
        elif name in names:
            is_value = names[name].metavar is not None and not equals
        elif name not in ("-h", "--help") and not _is_negated(name, names):
            raise ValueError(f"{name} comes before the app; write the app first")
    return None


def _is_negated(name: str, names: Mapping[str, Option]) -> bool:
    return name.startswith("--no-") and f"--{name[5:]}" in names
