"""BFCL's cases from its files, with schemas and names as models with tool calls are given them."""

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.bfcl.match import Call, Function, mismatch

SAMPLE = Path(__file__).resolve().parent.parent / "data/bfcl"
CATEGORIES = ("simple_python", "multiple", "parallel", "irrelevance")
JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
KEPT = ("type", "description", "enum", "required")  # of a schema, beside what is in it
BOUNDS: dict[str, dict[str, int]] = {  # small models may go on for ever; right answers are shorter
    "string": {"maxLength": 120},
    "array": {"maxItems": 20},
    "integer": {"minimum": -(10**12), "maximum": 10**12},
}
UNDESCRIBED: dict[str, Any] = {  # of a dict: what its values may be, so that it does not nest
    "anyOf": [
        {"type": "string", "maxLength": 120},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "array", "items": {"type": ["number", "boolean"]}, "maxItems": 20},
        {"type": "array", "items": {"type": "string", "maxLength": 120}, "maxItems": 20},
    ]
}


@dataclass(frozen=True)
class Case:
    """A question, the functions that may be called, and the right calls if there are any."""

    name: str
    question: str
    functions: tuple[Function, ...]
    answer: tuple[Mapping[str, Any], ...]

    @cached_property
    def tools(self) -> list[dict[str, Any]]:
        """Name, description and parameters as a JSON schema."""
        return [
            {
                "name": safe_name(each["name"]),
                "description": each["description"],
                "parameters": json_schema(each["parameters"]),
            }
            for each in self.functions
        ]

    def problem(self, calls: list[Call]) -> str | None:
        """Why calls of `tools` are wrong; None if they are right."""
        if not self.answer:
            return "called a function, and none fits" if calls else None
        names = {safe_name(each["name"]): each["name"] for each in self.functions}
        asked = [Call(names.get(call.name, call.name), call.arguments) for call in calls]
        return mismatch(asked, self.functions, self.answer)


def safe_name(name: str) -> str:
    """A name that servers and chat formats take: BFCL's own have dots."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def json_schema(described: Mapping[str, Any]) -> dict[str, Any]:
    """BFCL's description of a type as a JSON schema, bounded; named properties exclude others."""
    type_ = JSON_TYPES.get(described["type"], described["type"])
    bounds = {} if "enum" in described else BOUNDS.get(type_, {})
    schema = {key: described[key] for key in KEPT if key in described} | bounds
    schema["type"] = type_
    if "items" in described:
        schema["items"] = json_schema(described["items"])
    if "properties" in described:
        properties = described["properties"]
        schema["properties"] = {name: json_schema(each) for name, each in properties.items()}
        schema["additionalProperties"] = False
    elif type_ == "object":
        schema |= {"additionalProperties": UNDESCRIBED, "maxProperties": 20}
    return schema


def cases(category: str, folder: Path = SAMPLE, limit: int | None = None) -> list[Case]:
    """The first cases of a category."""
    rows = _rows(folder / f"{category}.jsonl")[:limit]
    answers: dict[str, Any] = {}
    if category != "irrelevance":
        answers = {row["id"]: row for row in _rows(folder / f"answers/{category}.jsonl")}
    return [
        Case(
            row["id"],
            row["question"][0][-1]["content"],
            tuple(row["function"]),
            tuple(answers[row["id"]]["ground_truth"]) if answers else (),
        )
        for row in rows
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    zipped = path.with_name(f"{path.name}.gz")
    text = gzip.decompress(zipped.read_bytes()) if zipped.exists() else path.read_bytes()
    return [json.loads(line) for line in text.splitlines()]
