"""Failures that an app took come back as what its `except` clauses take."""

import json
import os
import sys
from types import ModuleType
from typing import Any
from urllib.error import HTTPError

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from runtime.run_store.kept_errors import decode_error, encode_error
from runtime.run_store.values import NotStorable, encode


def caught(fails: Any) -> Exception:
    try:
        fails()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def kept(error: Exception) -> Any:
    return decode_error(encode_error(error))


class Refused(OSError):
    def __init__(self, number: int, text: str, way: str) -> None:
        super().__init__(number, text)
        self.way = way


FAILS = [
    lambda: os.stat("/nonexistent/file"),
    lambda: b"\xff".decode(),
    lambda: json.loads("{"),
    lambda: __import__("no_such_module"),
    lambda: {}["key"],
    lambda: None.name,  # type: ignore[attr-defined]
    lambda: compile("1 +", "file.py", "eval"),
]
FIELDS = ("errno", "filename", "start", "object", "pos", "name", "path", "lineno", "way", "value")


def fields_of(error: Exception) -> dict[str, Any]:
    return {name: getattr(error, name) for name in FIELDS if hasattr(error, name)}


@pytest.mark.parametrize("fails", FAILS)
def test_a_built_in_error_comes_back_whole(fails: Any) -> None:
    error = caught(fails)
    again = kept(error)
    assert type(again) is type(error)
    assert (str(again), again.args, fields_of(again)) == (str(error), error.args, fields_of(error))


def test_a_subclass_of_one_comes_back_without_its_code() -> None:
    error = Refused(13, "not here", "left")
    again = kept(error)
    assert type(again) is Refused
    assert (str(again), fields_of(again)) == (str(error), fields_of(error))


def test_a_group_keeps_its_members() -> None:
    group = kept(ExceptionGroup("two", [ValueError("a"), ExceptionGroup("in", [KeyError("b")])]))
    assert str(group) == "two (2 sub-exceptions)"
    assert repr(group.exceptions) == "(ValueError('a'), ExceptionGroup('in', [KeyError('b')]))"


def answered() -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://host/")
    return httpx.HTTPStatusError("404", request=request, response=httpx.Response(404))


def test_what_holds_more_than_can_be_kept_is_taken_by_the_same_clause() -> None:
    error = kept(answered())
    assert isinstance(error, httpx.HTTPStatusError)
    assert (type(error).__name__, str(error)) == ("HTTPStatusError", "404")
    with pytest.raises(AttributeError, match="'response' of this HTTPStatusError could not be"):
        error.response.raise_for_status()
    again = kept(error)
    assert isinstance(again, httpx.HTTPStatusError)
    assert str(again) == "404"


def test_what_of_it_can_be_kept_is_there() -> None:
    error = HTTPError("http://host/", 404, "not found", {}, None)  # type: ignore[arg-type]
    error.way = object()  # type: ignore[attr-defined]
    again = kept(error)
    assert isinstance(again, HTTPError)
    assert (again.code, str(again)) == (404, str(error))
    error.close()


def test_an_error_of_a_class_in_a_function_is_taken_as_its_base() -> None:
    class Local(LookupError):
        pass

    again = kept(Local("a", 3))
    assert isinstance(again, LookupError)
    assert (type(again).__name__, again.args, str(again)) == ("Local", ("a", 3), str(Local("a", 3)))


def test_a_group_with_one_that_cannot_be_kept_is_still_a_group() -> None:
    group = kept(ExceptionGroup("g", [answered(), ValueError("a")]))
    assert group.subgroup(httpx.HTTPStatusError).exceptions == group.exceptions[:1]
    assert str(group.exceptions[1]) == "a"
    assert str(group) == "g (2 sub-exceptions)"


class Coded(ValueError):
    def __init_subclass__(cls, *, code: int, **named: Any) -> None:
        super().__init_subclass__(**named)
        cls.code = code


class OfCode(Coded, code=3):
    pass


class Count(BaseModel):
    number: int


def of_pydantic() -> Exception:
    with pytest.raises(ValidationError) as raised:
        Count.model_validate({"number": "a"})
    return raised.value


@pytest.mark.parametrize("error", [of_pydantic(), OfCode("x", object())])
def test_where_no_subclass_can_be_made_it_is_taken_as_its_base(error: Exception) -> None:
    again = decode_error(encode_error(error))
    assert isinstance(again, ValueError)
    assert (type(again).__name__, str(again)) == (type(error).__name__, str(error))


def test_what_was_kept_of_an_import_names_the_module() -> None:
    error = ImportError("no", name="x", path="y")
    error.connection = object()  # type: ignore[attr-defined]
    again = decode_error(encode_error(error))
    assert isinstance(again, ImportError)
    assert (again.name, again.path, str(again)) == ("x", "y", "no")


def test_bytes_of_no_error_are_told_as_not_storable() -> None:
    for data in (b"{", b"[]", b"3", encode({"kept in part": {}})):
        with pytest.raises(NotStorable):
            decode_error(data)


def test_secrets_are_kept_in_no_field() -> None:
    url = "https://user:sesame@host/x?api_key=sesame"
    errors = [OSError(2, "no", url), ExceptionGroup("g", [ValueError([url]), answered()])]
    errors[1].way = {"to": [url]}  # type: ignore[attr-defined]
    for error in errors:
        assert b"sesame" not in encode_error(error)


def test_a_key_in_the_text_of_an_exception_is_not_kept() -> None:
    data = encode_error(RuntimeError("Authorization: Bearer sk-live-1"))
    assert b"sk-live" not in data
    assert str(decode_error(data)) == "Authorization: Bearer ***"


def test_a_key_in_a_dict_of_an_error_is_not_kept() -> None:
    data = encode_error(ValueError({"api_key": "s3cret-1", "why": "refused"}))
    assert b"s3cret" not in data
    assert decode_error(data).args == ({"api_key": "***", "why": "refused"},)


def test_what_an_app_is_told_of_a_wrong_password_is_kept_as_it_is() -> None:
    said = "password: must have 8 characters"
    assert str(decode_error(encode_error(ValueError(said)))) == said


def test_a_class_in_a_module_that_is_named_like_a_key_is_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class TooShort12(ValueError):
        """Of a module named password."""

    module = ModuleType("password")
    module.TooShort12 = TooShort12  # type: ignore[attr-defined]
    TooShort12.__module__, TooShort12.__qualname__ = "password", "TooShort12"
    monkeypatch.setitem(sys.modules, "password", module)

    assert type(decode_error(encode_error(TooShort12("x")))) is TooShort12
