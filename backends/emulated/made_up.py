"""Outputs where nothing was recorded: texts, JSON, vectors and scores that are functions of the
input alone. They mean nothing, but texts repeat words of their prompt and vectors of texts with
common words are near each other, so that what an app does with them is plausible.
"""

import hashlib
import json
import math
import random
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.errors import RequestRejected
from backends.fake.pattern import shortest_match

Vector = NDArray[np.float32]

LENGTHS = (32, 160)  # tokens of a text

_WORDS = (
    *("about", "after", "answer", "because", "before", "begins", "between", "called", "change"),
    *("common", "different", "early", "every", "example", "first", "follows", "found", "general"),
    *("given", "great", "important", "includes", "large", "later", "main", "makes", "many"),
    *("means", "most", "name", "number", "often", "only", "order", "other", "part", "people"),
    *("place", "point", "possible", "question", "reason", "result", "same", "second", "several"),
    *("shows", "small", "some", "stands", "states", "such", "system", "takes", "their", "then"),
    *("there", "these", "thing", "three", "time", "under", "until", "used", "value", "water"),
    *("where", "which", "while", "work", "world", "year"),
)
_OWN_WORDS = re.compile(r"[A-Za-z]{4,}")
_READ_CHARS = 2000  # of a prompt's end
_MAX_DEPTH = 8  # of a recursive schema


def seeded(*about: object) -> random.Random:
    """Random numbers that are a function of what it is about."""
    digest = hashlib.sha256("\0".join(map(str, about)).encode()).digest()
    return random.Random(digest)


def words(prompt: str, numbers: random.Random, count: int) -> str:
    """So many words, some of them the prompt's."""
    own = sorted(set(_OWN_WORDS.findall(prompt[-_READ_CHARS:])))
    pool = own + list(_WORDS)
    return " ".join(numbers.choice(pool) for _ in range(count))


def text_in_form(prompt: str, attrs: Mapping[str, Any], numbers: random.Random) -> str | None:
    """A text that keeps to the schema, regex or choices of `attrs`; None without any."""
    if (choices := attrs.get("choices")) is not None:
        return str(numbers.choice(list(choices)))
    if (pattern := attrs.get("regex")) is not None:
        return _match(pattern)
    if (schema := attrs.get("schema")) is not None:
        read = json.loads(schema) if isinstance(schema, str) else schema
        return json.dumps(_Instance(read, prompt, numbers).of(read), ensure_ascii=False)
    return None


def vector(text: str, dimensions: int) -> Vector:
    """A bag of hashed words of unit length: float32 [D]."""
    found = np.zeros(dimensions, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        code = zlib.crc32(word.encode())
        found[code % dimensions] += 1.0 if code >> 31 else -1.0
    norm = float(np.linalg.norm(found))
    if not norm:
        found[0], norm = 1.0, 1.0
    return found / np.float32(norm)


def score(query: str, passage: str) -> float:
    """Of a reranker, in (0, 1): more common words, more of it."""
    cosine = float(vector(query, 512) @ vector(passage, 512))
    return round(1 / (1 + math.exp(2 - 6 * cosine)), 5)


def logprob(prompt: str, choice: str) -> float:
    """Of each token of a choice."""
    return -seeded("select", prompt, choice).uniform(0.1, 4.0)


def _match(pattern: str) -> str:
    try:
        return shortest_match(pattern)
    except RequestRejected:
        return ""  # the grammar leads to its shortest end


class _Instance:
    """Values that fit a JSON schema, as far as its usual keywords go."""

    def __init__(self, schema: Mapping[str, Any], prompt: str, numbers: random.Random) -> None:
        self._defs = schema.get("$defs", schema.get("definitions", {}))
        self._prompt = prompt
        self._numbers = numbers

    def of(self, schema: Any, depth: int = 0) -> Any:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return None
        if "$ref" in schema:
            return self.of(self._defs[schema["$ref"].rsplit("/", 1)[-1]], depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._numbers.choice(schema["enum"])
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self.of(schema[several][0], depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        return self._of_kind(kind[0] if isinstance(kind, list) else kind, schema, depth)

    def _of_kind(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                fields = schema.get("properties", {})
                return {name: self.of(field, depth + 1) for name, field in fields.items()}
            case "array":
                return self._array(schema, depth)
            case "integer":
                return int(self._number(schema))
            case "number":
                return round(self._number(schema), 2)
            case "boolean":
                return self._numbers.random() < 0.5
            case "null":
                return None
        return self._string(schema)

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, 4))
        count = self._numbers.randint(max(least, min(2, most)), max(least, most))
        return [self.of(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _number(self, schema: Mapping[str, Any]) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        most = schema.get("maximum", schema.get("exclusiveMaximum", least + 11) - 1)
        return self._numbers.randint(int(least), max(int(least), int(most)))

    def _string(self, schema: Mapping[str, Any]) -> str:
        if "pattern" in schema:
            return _match(schema["pattern"])
        text = words(self._prompt, self._numbers, self._numbers.randint(3, 10))
        return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength", None)]
