"""Keys in texts of errors are not written down, and nothing else is lost."""

import pytest

from backends.text_secrets import without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer sk-live-1", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic dXNlcjpwdw=='}", "{'Authorization': 'Basic ***'}"),
        ("authorization=SECRET, then", "authorization=***, then"),
        ("sent bearer eyJhbGciOi.J9 twice", "sent bearer *** twice"),
        ("x-api-key: SECRET", "x-api-key: ***"),
        ("Client(api_key='SECRET', timeout=3)", "Client(api_key='***', timeout=3)"),
        ('{"OPENAI_API_KEY": "SECRET"}', '{"OPENAI_API_KEY": "***"}'),
        ("password=SECRET)", "password=***)"),
        ("no http://h?key=SECRET", "no http://h?key=***"),
        ("the key of now is SECRET-of-this-process.", "the key of now is ***."),
    ],
)
def test_a_key_in_a_text_is_starred(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "SECRET-of-this-process")
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "bearer authentication failed",
        "KeyError: 'key'",
        "the api key is missing",
        "token limit: 4096 tokens",
        "Basic authentication is off",
        "1 password, 2 users",
        "max_tokens=64",
        "line 3: unexpected token '}'",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_secrets(text) == text


def test_a_path_in_a_variable_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_CREDENTIALS", "/etc/service/credentials.json")
    assert without_secrets("no /etc/service/credentials.json") == "no /etc/service/credentials.json"
