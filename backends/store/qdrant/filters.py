"""Metadata filters as qdrant's conditions, on `facts` and `numbers` of `points.py`."""

import math
from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from backends.store.qdrant.points import fact_of, field_hash, text_fact
from backends.store.where import Test, Where

Condition = Any  # qdrant has a union of a dozen

NOTHING = models.HasIdCondition(has_id=[])
ODD = models.FieldCondition(key="is_odd", match=models.MatchValue(value=True))


def translate(where: Where) -> tuple[models.Filter, bool]:
    """What lets pass at least those that the filter does, and whether it lets no other pass.

    Documents that are odd pass it always.
    """
    translated = [_test(test) for test in where.tests]
    rough = [_rough(test) for test in where.tests]
    conditions = [one or other for one, other in zip(translated, rough, strict=True)]
    must = [condition for condition in conditions if condition is not None]
    exactly = models.Filter(must=must)
    return models.Filter(should=[exactly, ODD]), all(one is not None for one in translated)


def ids(points: Sequence[str]) -> Condition:
    return models.HasIdCondition(has_id=list(points))


def has_any(facts: list[str]) -> Condition:
    if not facts:
        return NOTHING
    return models.FieldCondition(key="facts", match=models.MatchAny(any=facts))


def _test(test: Test) -> Condition | None:
    """The condition that says the same, or None."""
    if not isinstance(test.field, str):
        return None
    match test.name:
        case "eq":
            return _equals(test.field, [test.value])
        case "in":
            return _equals(test.field, test.value)
        case "ne":
            equals = _equals(test.field, [test.value])
            return None if equals is None else models.Filter(must_not=[equals])
    return _ordered(test)


def _equals(field: str, values: list[Any]) -> Condition | None:
    if not all(_is_plain(value) for value in values):
        return None
    facts = [fact_of(field, value) for value in values]
    return has_any([fact for fact in facts if fact is not None])


def _is_plain(value: Any) -> bool:
    if type(value) in (list, dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or type(value) in (str, int, float, bool)


def _ordered(test: Test) -> Condition | None:
    value = test.value
    if value is None:
        return NOTHING
    if type(value) not in (bool, int, float) or abs(value) > 2**53 or math.isnan(value):
        return None
    bound = models.Range(**{_NAMES[test.name]: float(value)})
    return models.FieldCondition(key=f"numbers.{field_hash(test.field)}", range=bound)


def _rough(test: Test) -> Condition | None:
    """qdrant has no order of texts, but knows who has a text there."""
    if isinstance(test.field, str) and type(test.value) is str and test.name in _NAMES:
        return has_any([text_fact(test.field)])
    return None


_NAMES = {"ge": "gte", "gt": "gt", "le": "lte", "lt": "lt"}
