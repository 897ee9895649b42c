"""What a model's turn was worth: calls that are well-formed, and calls that are right."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from benchmarks.bfcl.cases import Case
from benchmarks.bfcl.match import Call

TAG = "<tool_call>"

_decoder = json.JSONDecoder()


@dataclass
class Tally:
    """The cases of one category that were asked one way."""

    cases: int = 0
    calling: int = 0  # cases with a call, well-formed or not
    calls: int = 0
    well_formed: int = 0
    right: int = 0
    problems: dict[str, str] = field(default_factory=dict)  # case -> why it is wrong

    def add(self, case: Case, calls: Sequence[Call | None]) -> None:
        """The calls of a turn; None is a try that cannot be read."""
        formed = [call for call in calls if call is not None and is_well_formed(call, case)]
        self.cases += 1
        self.calling += bool(calls)
        self.calls += len(calls)
        self.well_formed += len(formed)
        problem = "not well-formed" if len(formed) < len(calls) else case.problem(formed)
        if problem is None:
            self.right += 1
        else:
            self.problems[case.name] = problem

    def row(self) -> dict[str, Any]:
        return {
            "cases": self.cases,
            "calling": self.calling,
            "calls": self.calls,
            "well_formed": round(self.well_formed / self.calls, 4) if self.calls else None,
            "accuracy": round(self.right / self.cases, 4) if self.cases else None,
        }


def is_well_formed(call: Call, case: Case) -> bool:
    """Whether it names a tool of the case, with arguments that fit the tool's schema."""
    schemas: Mapping[str, Any] = {tool["name"]: tool["parameters"] for tool in case.tools}
    if call.name not in schemas:
        return False
    validator = jsonschema.Draft202012Validator(schemas[call.name])
    return bool(validator.is_valid(dict(call.arguments)))


def calls_in(text: str) -> list[Call | None]:
    """Calls that a model wrote freely: objects behind tags, or else any that look like calls."""
    if TAG in text:
        return [_call_at(piece, len(piece) - len(piece.lstrip())) for piece in text.split(TAG)[1:]]
    if '"name"' not in text:
        return []
    found = list(_objects(text))
    return [*found] if found or '"arguments"' not in text else [None]


def _objects(text: str) -> Iterator[Call]:
    start = text.find("{")
    while start >= 0:
        call = _call_at(text, start)
        if call is not None:
            yield call
            start = _decoder.raw_decode(text, start)[1]
        start = text.find("{", max(start, 0) + (call is None))


def _call_at(text: str, start: int) -> Call | None:
    try:
        value, _ = _decoder.raw_decode(text, start)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments")
    return Call(value["name"], arguments) if isinstance(arguments, dict) else None
