"""The template of a semantic function: text with places for inputs and outputs.

    Tell a joke about {{input:topic}}: {{output:joke}} Why is it funny? {{output:reason}}

It is read as steps, one an output: what the model reads, then what it writes. A name that was
written before is an input of later steps.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\s*(?:(input|output)\s*:\s*)?([A-Za-z_]\w*)\s*")


@dataclass(frozen=True, slots=True)
class Hole:
    """A place for the value of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """What the model reads, and the name of what it writes then."""

    reads: tuple[str | Hole, ...]
    writes: str


@dataclass(frozen=True, slots=True)
class Template:
    """The steps of a semantic function, and the names of what is put in."""

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(step.writes for step in self.steps)


def parse_template(text: str, outputs: Collection[str] = ()) -> Template:
    """The steps of a template; a name of `outputs` need not say that it is one.

    Raises ValueError for a template that says nothing, writes nothing, or writes a name twice.
    """
    steps: list[Step] = []
    reads: list[str | Hole] = []
    inputs: dict[str, None] = {}
    written: set[str] = set()
    for piece in _pieces(text, outputs):
        if isinstance(piece, Step):
            if piece.writes in written:
                raise ValueError(f"it writes {piece.writes!r} twice")
            written.add(piece.writes)
            steps.append(Step(_before_output(reads), piece.writes))
            reads = []
            continue
        reads.append(piece)
        if isinstance(piece, Hole) and piece.name not in written:
            inputs[piece.name] = None
    _check(steps, reads, inputs, written)
    return Template(tuple(steps), tuple(inputs))


def _pieces(text: str, outputs: Collection[str]) -> Iterator[str | Hole | Step]:
    """Text, holes, and an empty step for each place where the model writes."""
    end, written = 0, set[str]()
    for found in _HOLE.finditer(text):
        if found.start() > end:
            yield text[end : found.start()]
        end = found.end()
        match = _NAME.fullmatch(found[1])
        if match is None:
            problem = (
                f"{found[0]} is no placeholder: write {{{{input:name}}}} or {{{{output:name}}}}"
            )
            raise ValueError(problem)
        kind, name = match[1], match[2]
        if kind == "output" or (kind is None and name in outputs and name not in written):
            written.add(name)
            yield Step((), name)
        else:
            yield Hole(name)
    if end < len(text):
        yield text[end:]


def _before_output(reads: list[str | Hole]) -> tuple[str | Hole, ...]:
    """Blanks right before what a model writes are its own: words have their space in front."""
    if reads and isinstance(reads[-1], str):
        text = reads[-1].rstrip(" ")
        return tuple([*reads[:-1], text] if text else reads[:-1])
    return tuple(reads)


def _check(
    steps: list[Step], rest: list[str | Hole], inputs: Collection[str], written: Collection[str]
) -> None:
    if not steps:
        raise ValueError("it has no output: say where the model writes, as in {{output:answer}}")
    if any(isinstance(piece, Hole) or re.search(r"\w", piece) for piece in rest):
        raise ValueError(f"what stands behind the last output, {steps[-1].writes!r}, is never read")
    both = [name for name in inputs if name in written]
    if both:
        raise ValueError(f"it reads {both[0]!r} before it writes it")
