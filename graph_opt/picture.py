"""Boxes and lines, and how to write them for Mermaid and Graphviz; both work offline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LABEL_LEN = 60
_ARROW = {"data": "-->", "stream": "==>", "control": "-.->"}
_STYLE = {"data": "", "stream": ", style=bold", "control": ", style=dashed"}
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
    inner: tuple[Picture, ...] = ()  # what is drawn inside; of several, each in a box of its title

    @property
    def fill(self) -> str:
        return _FILL.get(self.kind, "#ffffff")


@dataclass(frozen=True, slots=True)
class Line:
    source: str
    target: str
    label: str = ""
    style: str = "data"  # or "stream", drawn thick, or "control", dashed


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
        label = "<br/>".join(_mermaid_escape(shorten(line)) for line in box.lines)
        if not box.inner:
            yield f'{indent}{box.id}["{label}"]'
            yield f"{indent}style {box.id} fill:{box.fill}"
            continue
        yield f'{indent}subgraph {box.id}["{label}"]'
        for inner_id, inner in inner_pictures(box):
            if inner_id:
                yield f'{indent}  subgraph {inner_id}["{_mermaid_escape(inner.title)}"]'
            yield from _mermaid_lines(inner, indent + "  ")
            if inner_id:
                yield f"{indent}  end"
        yield f"{indent}end"
    for line in picture.lines:
        arrow = _ARROW[line.style]
        label = f'|"{_mermaid_escape(line.label)}"|' if line.label else ""
        yield f"{indent}{line.source} {arrow}{label} {line.target}"


def _dot_lines(picture: Picture, indent: str) -> Iterator[str]:
    for box in picture.boxes:
        label = _dot_string("\n".join(map(shorten, box.lines)))
        drawn = f'{indent}{box.id} [label={label}, fillcolor="{box.fill}"];'
        if not box.inner:
            yield drawn
            continue
        yield f"{indent}subgraph cluster_{box.id} {{"
        yield "  " + drawn
        for inner_id, inner in inner_pictures(box):
            if inner_id:
                yield f"{indent}  subgraph cluster_{inner_id} {{ label={_dot_string(inner.title)};"
            yield from _dot_lines(inner, indent + "  ")
            if inner_id:
                yield f"{indent}  }}"
        yield indent + "}"
    for line in picture.lines:
        drawn = f"label={_dot_string(line.label)}{_STYLE[line.style]}"
        yield f"{indent}{line.source} -> {line.target} [{drawn}];"


def inner_pictures(box: Box) -> Iterator[tuple[str, Picture]]:
    """The pictures inside, with the id of a box around each where there are several."""
    for number, inner in enumerate(box.inner):
        yield (f"{box.id}_{number}" if len(box.inner) > 1 else ""), inner


def shorten(text: str) -> str:
    """A line of a label, cut to what a box should hold."""
    return text if len(text) <= MAX_LABEL_LEN else text[: MAX_LABEL_LEN - 3] + "..."


def _mermaid_escape(text: str) -> str:
    return re.sub(r"[^\w .,:%=()/\[\]-]", lambda match: f"#{ord(match[0])};", text)


def _dot_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\r", "").replace("\n", "\\n") + '"'
