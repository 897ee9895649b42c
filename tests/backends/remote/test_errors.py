"""Every exception of httpx, and every status, has a meaning."""

import inspect
from typing import Any

import httpx
import pytest

from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from backends.remote.errors import (
    _MEANINGS,
    MESSAGE_LEN,
    from_event,
    from_status,
    mapped_errors,
    message_of,
    was_never_sent,
    was_reset,
)

REQUEST = httpx.Request("GET", "http://server")


def exceptions_of_httpx() -> list[type[Exception]]:
    found = {
        value
        for name in dir(httpx)
        if inspect.isclass(value := getattr(httpx, name)) and issubclass(value, Exception)
    }
    waiting = list(found)
    while waiting:
        below = set(waiting.pop().__subclasses__()) - found
        found |= below
        waiting += below
    own = {cls for cls in found if cls.__module__.partition(".")[0] == "httpx"}
    return sorted(own, key=lambda cls: cls.__name__)


def made(cls: type[Exception]) -> Exception:
    if issubclass(cls, httpx.HTTPStatusError):
        return cls("broken", request=REQUEST, response=httpx.Response(500, request=REQUEST))
    takes_nothing = ("StreamConsumed", "StreamClosed", "ResponseNotRead", "RequestNotRead")
    return cls() if cls.__name__ in takes_nothing else cls("broken")


def mapped(error: Exception) -> EngineError:
    with pytest.raises(EngineError) as caught, mapped_errors("POST http://server/x"):
        raise error
    return caught.value


def test_httpx_has_the_exceptions_that_are_looked_for() -> None:
    names = {cls.__name__ for cls in exceptions_of_httpx()}

    assert {"ConnectTimeout", "InvalidURL", "CookieConflict", "StreamClosed"} <= names
    assert len(names) >= 28


@pytest.mark.parametrize("cls", exceptions_of_httpx(), ids=lambda cls: cls.__name__)
def test_every_exception_of_httpx_has_a_meaning_of_its_own(cls: type[Exception]) -> None:
    assert cls in _MEANINGS

    error = mapped(made(cls))
    assert str(error).startswith(f"POST http://server/x: {_MEANINGS[cls][1]}")
    assert isinstance(error.__cause__, cls)


@pytest.mark.parametrize("cls", exceptions_of_httpx(), ids=lambda cls: cls.__name__)
def test_what_the_network_does_makes_the_engine_unavailable(cls: type[Exception]) -> None:
    ours = (httpx.LocalProtocolError, httpx.DecodingError, httpx.TooManyRedirects)
    is_network = issubclass(cls, httpx.TransportError) and not issubclass(cls, ours)
    is_base = cls is httpx.ProtocolError

    assert isinstance(mapped(made(cls)), EngineUnavailable) == (
        (is_network and not is_base) or cls is httpx.InvalidURL
    )


def test_a_host_name_that_no_resolver_takes_is_unavailable() -> None:
    assert isinstance(mapped(UnicodeError("label too long")), EngineUnavailable)
    assert isinstance(mapped(ConnectionResetError("reset")), EngineUnavailable)


def test_only_a_request_without_a_connection_was_never_sent() -> None:
    never = {cls for cls in exceptions_of_httpx() if was_never_sent(mapped(made(cls)))}
    reset = {cls for cls in exceptions_of_httpx() if was_reset(mapped(made(cls)))}

    assert never == {httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout}
    assert reset == {
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.RemoteProtocolError,
    }


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_is_an_error_that_says_it(status: int) -> None:
    error = from_status(status, {"error": {"message": "why"}}, "POST http://server/x")

    assert str(error).startswith(f"POST http://server/x: {status}: why")
    wanted = {
        **dict.fromkeys((400, 404, 405, 413, 415, 422), RequestRejected),
        **dict.fromkeys((401, 403, 407, 408, 502, 504, *range(520, 531)), EngineUnavailable),
        **dict.fromkeys((429, 503), EngineOverloaded),
    }
    assert isinstance(error, wanted.get(status, EngineError))
    assert type(error) is EngineError or status in wanted


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too big", "code": "context_length_exceeded"}},
        {"error": {"message": "This model's maximum context length is 8192 tokens."}},
        {"object": "error", "message": "The input (99 tokens) is longer than the model's context"},
        {"error": "the prompt is too long"},
    ],
)
def test_a_request_that_can_never_fit_is_told_apart(body: Any) -> None:
    assert isinstance(from_status(400, body, "x"), RequestTooLong)


def test_a_vllm_whose_engine_has_died_is_gone_and_not_at_fault_for_one_request() -> None:
    died = {"error": {"message": "EngineCore encountered an issue. See stack trace (above)."}}

    assert isinstance(from_status(500, died, "x"), EngineUnavailable)
    assert type(from_status(500, {"error": {"message": "it broke"}}, "x")) is EngineError


def test_a_refused_key_names_its_variable() -> None:
    error = from_status(401, {"error": {"message": "no"}}, "x", key_hint="is MY_KEY right?")

    assert str(error) == "x: 401: no; is MY_KEY right?"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "of OpenAI", "type": "t"}}, "of OpenAI"),
        ({"object": "error", "message": "of an older vLLM", "code": 400}, "of an older vLLM"),
        ({"error": "of Ollama"}, "of Ollama"),
        ({"detail": "of FastAPI"}, "of FastAPI"),
        (
            {"detail": [{"loc": ["body", "model"], "msg": "Field required"}]},
            "body.model: Field required",
        ),
        ("plain\n  words", "plain words"),
        (None, ""),
        ([], ""),
        (7, "7"),
        ({"error": {"code": 3}}, "{'code': 3}"),
    ],
)
def test_the_servers_words_are_found_in_all_shapes(body: Any, words: str) -> None:
    assert message_of(body) == words


def test_long_words_are_cut() -> None:
    assert len(message_of("x" * 10_000)) == MESSAGE_LEN


def test_an_event_with_an_error_is_one_by_its_code() -> None:
    assert from_event({"error": None, "id": "r"}, "x") is None
    assert from_event([1], "x") is None
    assert type(from_event({"error": "broke"}, "x")) is EngineError
    assert isinstance(from_event({"error": {"message": "m", "code": 400}}, "x"), RequestRejected)
    assert isinstance(from_event({"error": {"code": "503"}}, "x"), EngineOverloaded)
    assert type(from_event({"error": {"code": "odd"}}, "x")) is EngineError
