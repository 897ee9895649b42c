"""Plans by name, as requests write them: "lego(16)", "blend(0.15, v=true)+first(4)"."""

import re
import reprlib
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any

from backends.errors import RequestRejected
from backends.llm.fusion.plans import (
    Alone,
    Arranging,
    Blend,
    Craft,
    Exact,
    Focus,
    FromRequests,
    Gradual,
    InContext,
    Lego,
    Plan,
    Query,
    Random,
    Reuse,
    WithFirst,
    encoding_of,
)
from backends.llm.fusion.stand_in import MOST_TOKENS

PLANS: dict[str, type[Any]] = {
    "exact": Exact,
    "reuse": Reuse,
    "lego": Lego,
    "random": Random,
    "query": Query,
    "blend": Blend,
    "gradual": Gradual,
    "focus": Focus,
    "craft": Craft,
}
ALONE = "alone"
MODIFIERS: dict[str, Callable[[Plan, int], Plan]] = {"first": WithFirst, "context": InContext}
_MOST_CHARS = 200
_CALL = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*")


def plan_from(text: object) -> Plan:
    """The plan that a request names. Raises RequestRejected."""
    if not isinstance(text, str) or len(text) > _MOST_CHARS:
        raise _rejected(text, "it must be a short text")
    name, *modifiers = text.split("+")
    plan: Plan = _made(text, name)
    is_alone = False
    for modifier in modifiers:
        if isinstance(plan, Arranging | FromRequests):
            raise _rejected(text, f"{name.strip()} takes no modifier")
        match = re.fullmatch(r"\s*(\w+)\((\d{1,7})\)\s*", modifier)
        if modifier.strip() == ALONE:
            is_alone = True
        elif match is not None and match[1] in MODIFIERS:
            plan = MODIFIERS[match[1]](plan, int(match[2]))
            if not 1 <= encoding_of(plan).num_context <= MOST_TOKENS and match[1] == "context":
                raise _rejected(text, f"context takes 1 to {MOST_TOKENS} tokens, not {match[2]}")
        else:
            known = ", ".join((*(f"{name}(k)" for name in MODIFIERS), ALONE))
            raise _rejected(text, f"{modifier.strip()!r} is no modifier; there are {known}")
    return Alone(plan) if is_alone else plan


def _made(text: str, call: str) -> Plan:
    match = _CALL.fullmatch(call)
    kind = PLANS.get(match[1]) if match is not None else None
    if match is None or kind is None:
        raise _rejected(text, f"{call.strip()!r} is no plan; there are {', '.join(PLANS)}")
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    for place, given in enumerate(match[2].split(",") if match[2] else ()):
        key, _, value = given.rpartition("=")
        name = key.strip() or (list(known)[place] if place < len(known) else "")
        if name not in known or name in values:
            takes = ", ".join(known) or "nothing"
            raise _rejected(text, f"{match[1]} takes {takes}, not {given.strip()!r}")
        values[name] = _number(text, known[name], value.strip())
    missing = [f.name for f in known.values() if f.default is MISSING and f.name not in values]
    if missing:
        raise _rejected(text, f"{match[1]} needs {missing[0]}")
    try:
        plan: Plan = kind(**values)
    except ValueError as error:
        raise _rejected(text, f"{call.strip()}: {error}") from error
    return plan


def _number(text: str, field: Field[Any], value: str) -> float | int | bool:
    """Of the kind that the field is of."""
    kind = getattr(field.type, "__name__", field.type)
    if kind == "bool" and value in ("true", "false"):
        return value == "true"
    if kind == "int" and re.fullmatch(r"\d{1,7}", value):
        return int(value)
    if kind in ("Ratio", "float") and re.fullmatch(r"\d{0,3}(\.\d{1,9})?", value or "x"):
        if 0 <= (ratio := float(value or "x")) <= 1:
            return ratio
        raise _rejected(text, f"{field.name} is a share from 0 to 1, not {value}")
    wanted = {"bool": "true or false", "int": "a whole number"}.get(
        str(kind), "a share from 0 to 1"
    )
    raise _rejected(text, f"{field.name} must be {wanted}, not {value!r}")


_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _MOST_CHARS


def _rejected(text: object, why: str) -> RequestRejected:
    return RequestRejected(f"fusion={_SHOWN.repr(text)}: {why}")
