"""Boxes and lines, and how to write them for Mermaid and Graphviz; both work offline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LABEL_LEN = 60
_FILL = {
    "llm": "#dbeafe",
    "embedder": "#dcfce7",
    "store": "#fef9c3",
    "reranker": "#ffedd5",
    "python": "#fce7f3",
    "input": "#f3f4f6",
}


@dataclass(frozen=True, slots=True)
class Box:
    id: str  # letters, digits and _
    lines: tuple[str, ...]  # of the label
    kind: str = ""  # what colours it; a kind without a colour stays white
    inner: Picture | None = None  # what is drawn inside

    @property
    def fill(self) -> str:
        return _FILL.get(self.kind, "#ffffff")


@dataclass(frozen=True, slots=True)
class Line:
    source: str
    target: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    title: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def to_mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flowchart."""
    return "\n".join(["flowchart TD", *_mermaid_lines(picture, "  ")]) + "\n"


def to_dot(picture: Picture) -> str:
    """The picture in Graphviz' language."""
    head = f"digraph {_dot_string(picture.title)} {{"
    style = '  node [shape=box, style="rounded,filled", fontname="monospace"];'
    return "\n".join([head, "  compound=true;", style, *_dot_lines(picture, "  "), "}"]) + "\n"


def _mermaid_lines(picture: Picture, indent: str) -> Iterator[str]:
    for box in picture.boxes:
        label = "<br/>".join(_mermaid_escape(_shorten(line)) for line in box.lines)
        if box.inner is None:
            yield f'{indent}{box.id}["{label}"]'
            yield f"{indent}style {box.id} fill:{box.fill}"
        else:
            yield f'{indent}subgraph {box.id}["{label}"]'
            yield from _mermaid_lines(box.inner, indent + "  ")
            yield f"{indent}end"
    for line in picture.lines:
        arrow = "-.->" if line.dashed else "-->"
        label = f'|"{_mermaid_escape(line.label)}"|' if line.label else ""
        yield f"{indent}{line.source} {arrow}{label} {line.target}"


def _dot_lines(picture: Picture, indent: str) -> Iterator[str]:
    for box in picture.boxes:
        label = _dot_string("\n".join(map(_shorten, box.lines)))
        drawn = f'{indent}{box.id} [label={label}, fillcolor="{box.fill}"];'
        if box.inner is None:
            yield drawn
        else:
            yield f"{indent}subgraph cluster_{box.id} {{"
            yield "  " + drawn
            yield from _dot_lines(box.inner, indent + "  ")
            yield indent + "}"
    for line in picture.lines:
        style = ", style=dashed" if line.dashed else ""
        yield f"{indent}{line.source} -> {line.target} [label={_dot_string(line.label)}{style}];"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_LABEL_LEN else text[: MAX_LABEL_LEN - 3] + "..."


def _mermaid_escape(text: str) -> str:
    return re.sub(r"[^\w .,:%=()/\[\]-]", lambda match: f"#{ord(match[0])};", text)


def _dot_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\r", "").replace("\n", "\\n") + '"'
