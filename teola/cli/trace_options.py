"""Which options of `teola trace` exclude each other: none is dropped without a word."""

from collections.abc import Mapping

from teola.cli.failures import UsageError

_OF_TEXT = ("--plan", "--all", "--level", "--why")  # how the terminal shows a trace
_EXCLUDED: Mapping[str, tuple[str, ...]] = {
    "--web": ("--otlp", "--chrome", "--json", *_OF_TEXT),
    "--otlp": ("--json", *_OF_TEXT),
    "--chrome": ("--json", *_OF_TEXT),
    "--json": ("--all", "--level"),
    "--plan": ("--level",),
    "--why": ("--plan", "--json", "--level"),
}


def check_together(given: Mapping[str, object]) -> None:
    """`given` has the values of all options. Raises UsageError that names two which exclude each
    other."""
    chosen = {name for name, value in given.items() if value is not None and value is not False}
    for name, excluded in _EXCLUDED.items():
        if name in chosen and (others := [other for other in excluded if other in chosen]):
            raise UsageError(f"{name} and {others[0]} exclude each other; run the command twice")
