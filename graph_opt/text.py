"""The text form of a graph: `to_text` prints it, `parse` reads it back, and the two are inverse.

    graph rag {
      %question = input [type="str"]
      %c0 = context [engine="llm"]
      %c1 = prefill %c0 @user "Answer:" @sp %question @assistant [engine="llm"]
      %t1, %c2 = decode %c1 [engine="llm"]  # answer app.py:12
      return %t1
    }

A line is `%outputs = op args [attrs] after %nodes {body} else {body}`; `~%x` reads a stream.
Literals are JSON, attrs are sorted, comments (origins) and blank lines are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from graph_opt.errors import GraphError
from graph_opt.graph import Arg, Graph, Json, Marker, Node, Ref
from graph_opt.verify import ATTR_NAME, VALUE_NAME


def to_text(graph: Graph, origins: bool = True) -> str:
    """The graph as text; with `origins`, each node's user call and line as a comment."""
    name = graph.name if _LABEL.fullmatch(graph.name) else json_text(graph.name)
    return "\n".join([f"graph {name} {{", *_body_lines(graph, "  ", origins), "}"])


def node_text(node: Node) -> str:
    """The node as one line of text, without its bodies."""
    outputs = ", ".join(f"%{value}" for value in node.outputs)
    words = [outputs, "=", node.op, *map(arg_text, node.args)]
    if node.attrs:
        attrs = (f"{key}={json_text(value)}" for key, value in sorted(node.attrs.items()))
        words.append(f"[{', '.join(attrs)}]")
    if node.after:
        words += ["after", ", ".join(f"%{name}" for name in node.after)]
    return " ".join(words)


def arg_text(arg: Arg) -> str:
    """The argument as text: `%value`, `~%stream`, `@marker` or a JSON literal."""
    if isinstance(arg, Ref):
        return f"~%{arg.name}" if arg.stream else f"%{arg.name}"
    return f"@{arg.word}" if isinstance(arg, Marker) else json_text(arg)


def json_text(value: Json) -> str:
    """The value as JSON on one line, readable but for characters that break lines or encoders."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", _ENCODER.encode(value))


def _body_lines(graph: Graph, indent: str, origins: bool) -> Iterator[str]:
    for node in graph.nodes:
        comment = f"  # {_origin_text(node)}" if origins and node.origin else ""
        if not node.bodies:
            yield f"{indent}{node_text(node)}{comment}"
            continue
        yield f"{indent}{node_text(node)} {{{comment}"
        for number, body in enumerate(node.bodies):
            if number > 0:
                yield indent + "} else {"
            yield from _body_lines(body, indent + "  ", origins)
        yield indent + "}"
    yield f"{indent}return {', '.join(f'%{value}' for value in graph.outputs)}".rstrip()


def _origin_text(node: Node) -> str:
    assert node.origin is not None, "asked only for nodes with an origin"
    text = f"{node.origin.call} {node.origin.file}:{node.origin.line}"
    return _UNSAFE.sub(" ", text.replace("\n", " ").replace("\r", " "))


def parse(text: str) -> Graph:
    """The graph of this text; `GraphError` with the line and what was expected there."""
    reader = _Reader(text)
    reader.expect(_GRAPH, "`graph`")
    name = reader.literal() if reader.peek('"') else reader.expect(_LABEL, "a name for the graph")
    reader.expect(_OPEN, "`{`")
    graph = _parse_body(reader, str(name))
    reader.expect(_END, "nothing more after the closing `}`")
    return graph


_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_GRAPH = re.compile(r"graph\b")
_VALUE = re.compile(f"%({VALUE_NAME.pattern})")
_STREAM = re.compile(f"~%({VALUE_NAME.pattern})")
_MARKER = re.compile(r"@([A-Za-z_]+)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_ATTR = re.compile(f"({ATTR_NAME.pattern})=")
_ATTRS = re.compile(rf"\[(?={ATTR_NAME.pattern}=)")
_AFTER = re.compile(r"after\b")
_RETURN = re.compile(r"return\b")
_COMMA = re.compile(r",")
_EQUALS = re.compile(r"=")
_CLOSE_ATTRS = re.compile(r"\]")
_OPEN = re.compile(r"\{(?=[ \t\r]*(?:#.*)?(?:\n|$))")  # the last of its line: no JSON object
_CLOSE = re.compile(r"\}")
_ELSE = re.compile(r"else\b")
_NEWLINE = re.compile(r"\n|$")
_END = re.compile(r"$(?!\n)")
_JSON = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_BLANK = re.compile(r"(?:[ \t\r]|#[^\n]*)+")
_BLANK_LINES = re.compile(r"(?:\s|#[^\n]*)+")


class _Reader:
    """A cursor over the text; blanks and comments are skipped before each token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.skip(_BLANK_LINES)

    def skip(self, blank: re.Pattern[str]) -> None:
        if match := blank.match(self.text, self.position):
            self.position = match.end()

    def accept(self, token: re.Pattern[str]) -> str | None:
        match = token.match(self.text, self.position)
        if match is None:
            return None
        self.position = match.end()
        self.skip(_BLANK_LINES if token in (_OPEN, _CLOSE, _NEWLINE) else _BLANK)
        return match[match.lastindex or 0]

    def expect(self, token: re.Pattern[str], what: str) -> str:
        found = self.accept(token)
        if found is None:
            raise self.error(what)
        return found

    def peek(self, start: str) -> bool:
        return self.text.startswith(start, self.position)

    def is_at(self, token: re.Pattern[str]) -> bool:
        return token.match(self.text, self.position) is not None

    def literal(self) -> Json:
        try:
            value: Json
            value, self.position = _JSON.raw_decode(self.text, self.position)
        except ValueError:
            raise self.error("a %value, an @marker or a JSON literal") from None
        self.skip(_BLANK)
        return value

    def error(self, what: str) -> GraphError:
        number = self.text.count("\n", 0, self.position) + 1
        start = self.text.rfind("\n", 0, self.position) + 1
        line = self.text[start:].split("\n", 1)[0]
        column = self.position - start + 1
        return GraphError(f"line {number}, column {column}: expected {what} in {line.strip()!r}")


def _parse_body(reader: _Reader, name: str) -> Graph:
    nodes: list[Node] = []
    while reader.accept(_RETURN) is None:
        if not reader.peek("%"):
            raise reader.error("a node `%name = op ...` or `return`")
        nodes.append(_parse_node(reader))
    outputs = _parse_values(reader) if reader.peek("%") else ()
    reader.expect(_NEWLINE, "the end of the line after `return`")
    reader.expect(_CLOSE, "`}` after `return`")
    return Graph(name, tuple(nodes), outputs)


def _parse_node(reader: _Reader) -> Node:
    outputs = _parse_values(reader)
    reader.expect(_EQUALS, "`=`")
    op = reader.expect(_WORD, "the name of an op")
    args = tuple(_parse_args(reader))
    attrs = _parse_attrs(reader) if reader.accept(_ATTRS) else {}
    after = _parse_values(reader) if reader.accept(_AFTER) else ()
    bodies = tuple(_parse_bodies(reader, outputs[0]))
    if not bodies:
        reader.expect(_NEWLINE, "[attrs] once, `after`, `{` or the end of the line")
    return Node(outputs, op, args, attrs, after, bodies)


def _parse_bodies(reader: _Reader, name: str) -> Iterator[Graph]:
    if reader.accept(_OPEN) is None:
        return
    yield _parse_body(reader, name)
    while reader.accept(_ELSE):
        reader.expect(_OPEN, "`{` and the end of the line after `else`")
        yield _parse_body(reader, name)


def _parse_values(reader: _Reader) -> tuple[str, ...]:
    values = [reader.expect(_VALUE, "a %value")]
    while reader.accept(_COMMA):
        values.append(reader.expect(_VALUE, "a %value"))
    return tuple(values)


def _parse_args(reader: _Reader) -> Iterator[Arg]:
    while not any(map(reader.is_at, (_ATTRS, _AFTER, _OPEN, _NEWLINE))):
        if value := reader.accept(_VALUE):
            yield Ref(value)
        elif value := reader.accept(_STREAM):
            yield Ref(value, stream=True)
        elif word := reader.accept(_MARKER):
            yield Marker(word)
        else:
            yield reader.literal()


def _parse_attrs(reader: _Reader) -> dict[str, Json]:
    attrs: dict[str, Json] = {}
    while True:
        key = reader.expect(_ATTR, "`key=value`")
        attrs[key] = reader.literal()
        if not reader.accept(_COMMA):
            break
    reader.expect(_CLOSE_ATTRS, "`,` or `]` after an attr")
    return attrs
