"""What a docstring says of a function and of each parameter: Google, numpy and Sphinx style."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc

_GOOGLE = re.compile(r"(Args|Arguments|Parameters|Params|Keyword Args|Other Parameters):\s*$")
_SECTION = re.compile(
    r"(Returns?|Yields?|Raises|Examples?|Notes?|See Also|References|Warnings?|Attributes):?\s*$"
)
_GOOGLE_ITEM = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ITEM = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_SPHINX = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$"
)
_FIELD = re.compile(r":\w+[^:]*:")


@dataclass(frozen=True, slots=True)
class Docs:
    """What is said of a function."""

    about: str = ""  # before the first section
    parameters: dict[str, str] = field(default_factory=dict)


def read_docstring(text: str | None) -> Docs:
    """The parts of a docstring; what is of no known style stays in `about`."""
    lines = cleandoc(text or "").splitlines()
    about, start = [], 0
    for start, line in enumerate(lines):
        if _is_section(lines, start) or _FIELD.match(line):
            break
        about.append(line)
    else:
        start = len(lines)
    rest = lines[start:]
    found = {**_of_sections(rest), **_of_fields(rest)}
    said = {name: " ".join(words).strip() for name, words in found.items()}
    return Docs("\n".join(about).strip(), {name: text for name, text in said.items() if text})


def _is_section(lines: Sequence[str], at: int) -> bool:
    line = lines[at]
    following = lines[at + 1] if at + 1 < len(lines) else ""
    if _is_underline(following) and line.strip():
        return True
    return bool(_GOOGLE.match(line) or (_SECTION.match(line) and line.rstrip().endswith(":")))


def _is_underline(line: str) -> bool:
    return len(line.strip()) >= 3 and not line.strip().strip("-=")


def _of_sections(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for at, line in enumerate(lines):
        if _GOOGLE.match(line):
            found |= _google(_indented(lines[at + 1 :]))
        elif _is_numpy(line) and _is_underline("".join(lines[at + 1 : at + 2])):
            found |= _numpy(_until_section(lines[at + 2 :]))
    return found


def _is_numpy(line: str) -> bool:
    return line.strip() in ("Parameters", "Other Parameters")


def _indented(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if line.strip() and not line.startswith(" "):
            return
        yield line


def _until_section(lines: Sequence[str]) -> Iterator[str]:
    for at, line in enumerate(lines):
        if _is_section(lines, at):
            return
        yield line


def _google(lines: Iterator[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    depth, name = 0, ""
    for line in filter(str.strip, lines):
        indent = len(line) - len(line.lstrip())
        item = _GOOGLE_ITEM.match(line.strip()) if not depth or indent <= depth else None
        if item is not None:
            depth, name = indent, item[1]
            found[name] = [item[2]]
        elif name:
            found[name].append(line.strip())
    return found


def _numpy(lines: Iterator[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in filter(str.strip, lines):
        item = None if line.startswith(" ") else _NUMPY_ITEM.match(line)
        if item is not None:
            names = [name.strip(" *") for name in item[1].split(",")]
            found |= {name: [] for name in names}
        else:
            for name in names:
                found[name].append(line.strip())
    return found


def _of_fields(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        item = _SPHINX.match(line.strip())
        if item is not None:
            name = item[1]
            found[name] = [item[2]]
        elif _FIELD.match(line.strip()) or not line.strip():
            name = ""
        elif name:
            found[name].append(line.strip())
    return found
