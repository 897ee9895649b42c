"""Metadata filters as SQL over `metadata jsonb`, all values as parameters.

JSONB's own equality is Python's but for True == 1; its order of texts is made Python's by the
collation "C". What has no exact form in SQL (lists, NaN) gives None.
"""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from backends.store.postgres.rows import as_jsonb
from backends.store.where import Test, Where

Filter = tuple[sql.Composable, dict[str, Any]]
_FALSE = sql.SQL("false")
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_NUMBER = """CASE jsonb_typeof(metadata -> {field})
    WHEN 'number' THEN (metadata ->> {field})::numeric {sign} {value}
    WHEN 'boolean' THEN (metadata ->> {field})::boolean::integer {sign} {value}
    ELSE false END"""
_TEXT = """CASE jsonb_typeof(metadata -> {field})
    WHEN 'string' THEN (metadata ->> {field}) COLLATE "C" {sign} {value}
    ELSE false END"""


class _NoSql(Exception):
    pass


def to_sql(where: Where) -> Filter | None:
    """A condition with named parameters, or None."""
    params: dict[str, Any] = {}
    try:
        tests = [_test(test, params) for test in where.tests]
    except _NoSql:
        return None
    return sql.SQL(" AND ").join(sql.SQL("({})").format(test) for test in tests), params


def _test(test: Test, params: dict[str, Any]) -> sql.Composable:
    if not isinstance(test.field, str) or as_jsonb(test.field) is None:
        raise _NoSql
    match test.name:
        case "eq":
            return _any(test.field, [test.value], params)
        case "in":
            return _any(test.field, test.value, params)
        case "ne":
            return sql.SQL("NOT {}").format(_any(test.field, [test.value], params))
    return _ordered(test, params)


def _any(field: str, values: Sequence[Any], params: dict[str, Any]) -> sql.Composable:
    """Whether the field equals one of the values."""
    forms = [form for value in values for form in _forms(value)]
    tests = [
        sql.SQL("metadata @> {}").format(_param(params, Jsonb({field: form}))) for form in forms
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests)) if tests else _FALSE


def _forms(value: Any) -> Iterator[Any]:
    """What is equal to the value, as JSON."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        yield from (int(value), bool(value))
    elif value is None or type(value) in (str, int, float):
        if as_jsonb(value) is None:
            raise _NoSql
        yield value
    else:
        raise _NoSql


def _ordered(test: Test, params: dict[str, Any]) -> sql.Composable:
    value = test.value
    if value is None:
        return _FALSE
    given: str | Decimal
    if isinstance(value, bool | int | float) and math.isfinite(value):
        template, given = _NUMBER, Decimal(str(value) if type(value) is float else value)
    elif type(value) is str and as_jsonb(value) is not None:
        template, given = _TEXT, value
    else:
        raise _NoSql
    field = sql.SQL("{}::text").format(_param(params, test.field))
    sign = sql.SQL(_SIGNS[test.name])
    return sql.SQL(template).format(field=field, sign=sign, value=_param(params, given))


def _param(params: dict[str, Any], value: Any) -> sql.Composable:
    name = f"where_{len(params)}"
    params[name] = value
    return sql.Placeholder(name)
