"""Metrics for `tl.evaluate`: functions of a row of the dataset and the app's output for it.

A metric gives a number or a bool, or awaits one. Those here compare with a field of the row, by
default `expected`.
"""

import re
import string
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel

from frontend_dsl.components import LLM
from frontend_dsl.prompt import prompt
from teola._app import app

Metric = Callable[[Any, Any], "float | Awaitable[float]"]  # row, output

__all__ = ["Metric", "contains", "exact_match", "f1", "judge"]


def exact_match(field: str = "expected") -> Metric:
    """Whether the output is what the row says; of texts without white space at their ends."""

    def metric(row: Any, output: Any) -> bool:
        wanted = field_of(row, field)
        if isinstance(output, str) and isinstance(wanted, str):
            return output.strip() == wanted.strip()
        return bool(output == wanted)

    return _named(metric, "exact_match")


def contains(field: str = "expected") -> Metric:
    """Whether the output's text holds what the row says, or one of several texts; any case."""

    def metric(row: Any, output: Any) -> bool:
        wanted = field_of(row, field)
        texts = wanted if isinstance(wanted, (list, tuple, set)) else [wanted]
        return any(str(text).casefold() in str(output).casefold() for text in texts)

    return _named(metric, "contains")


def f1(field: str = "expected") -> Metric:
    """F1 of the words that output and row have in common, as SQuAD counts: without case,
    punctuation and articles. Of several right answers the best counts."""

    def metric(row: Any, output: Any) -> float:
        wanted = field_of(row, field)
        texts = wanted if isinstance(wanted, (list, tuple, set)) else [wanted]
        return max((_f1(str(output), str(text)) for text in texts), default=0.0)

    return _named(metric, "f1")


def judge(llm: LLM, question: str, *, field: str | None = "expected") -> Metric:
    """Whether a model says yes to a question about the output, such as "Is the answer right?".

    It is shown the row, the output, and the row's `field` as the right answer, where there is one.
    """

    @prompt(llm, choices=["yes", "no"], system="You grade answers. Say yes or no.")
    def verdict(asked: str, answer: str, expected: str | None) -> str:
        right = "" if expected is None else f"Right answer:\n{expected}\n\n"
        return f"Question:\n{asked}\n\n{right}Answer to grade:\n{answer}\n\n{question}"

    @app
    def grade(asked: str, answer: str, expected: str | None = None) -> str:
        return verdict(asked, answer, expected)

    async def metric(row: Any, output: Any) -> float:
        fields = fields_of(row)
        expected = fields.pop(field, None) if field is not None else None
        asked = "\n".join(f"{name}: {value}" for name, value in fields.items())
        right = None if expected is None else f"{expected}"
        return await grade.arun(asked, f"{output}", right) == "yes"

    return _named(metric, "judge")


def fields_of(row: Any) -> dict[str, Any]:
    """The fields of a row: a mapping, a dataclass or a pydantic model."""
    if isinstance(row, Mapping):
        return dict(row)
    if isinstance(row, BaseModel):
        return {name: getattr(row, name) for name in type(row).model_fields}
    if hasattr(row, "__dataclass_fields__"):
        return {name: getattr(row, name) for name in row.__dataclass_fields__}
    raise TypeError(f"a row is a dict, a dataclass or a pydantic model, not {row!r}")


def field_of(row: Any, name: str) -> Any:
    """A field of a row. Raises KeyError if it has none of this name."""
    fields = fields_of(row)
    if name not in fields:
        raise KeyError(f"the row has no field {name!r}; it has {', '.join(fields)}")
    return fields[name]


def _named(metric: Any, name: str) -> Metric:
    metric.__name__ = metric.__qualname__ = name
    return metric  # type: ignore[no-any-return]


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split()


def _f1(output: str, wanted: str) -> float:
    said, right = _words(output), _words(wanted)
    common = sum((Counter(said) & Counter(right)).values())
    if not said or not right:
        return float(said == right)
    return 2 * common / (len(said) + len(right))
