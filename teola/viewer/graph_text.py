"""Graph text in colours, its long lines wrapped under themselves on a terminal."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

_STYLES = (
    (r'"(?:[^"\\]|\\.)*"', "green"),
    (r"(?<== )[a-z_]+", "bold"),
    (r"%[\w.]+", "cyan"),
    (r"@\w+", "magenta"),
    (r"\bafter\b", "yellow"),
    (r"  # .*$", "dim"),
)
_HANGING = 6


def graph_lines(text: str) -> Iterator[Text]:
    """Each line of a graph's text, coloured."""
    for line in text.splitlines():
        yield styled(line)


def styled(line: str, base: str = "") -> Text:
    """One line of a graph's text."""
    text = Text(line, base)
    for pattern, style in _STYLES:
        text.highlight_regex(pattern, style)
    return text


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print; only a terminal gets its lines wrapped, so that files can be read back and diffed."""
    for line in lines:
        if console.is_terminal:
            for part in wrapped(console, line):
                console.print(part, soft_wrap=True)
        else:
            console.print(line, soft_wrap=True)


def wrapped(console: Console, line: Text) -> Iterator[Text]:
    """The line in pieces no wider than the console, all but the first one indented."""
    indent = len(line.plain) - len(line.plain.lstrip())
    if len(line) <= console.width:
        yield line
        return
    pieces = line[indent:].wrap(console, max(console.width - indent - _HANGING, 20))
    for number, piece in enumerate(pieces):
        margin = " " * (indent + (_HANGING if number else 0))
        yield Text(margin).append_text(piece)
