"""Requests made from the OpenAPI document, right and wrong ones, and answers held to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance import run_schemathesis


def test_every_operation_answers_as_its_document_says(
    talk: Callable[..., Any], tmp_path: Path
) -> None:
    with talk(chunks=True).listening() as url:
        num = run_schemathesis(url, tmp_path, "--request-timeout", "10")
    assert num > 2000


def test_an_answer_that_the_document_does_not_describe_is_found(
    talk: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = talk()
    monkeypatch.setattr(server.engines, "cards", lambda: [{"id": 7}])
    with server.listening() as url, pytest.raises(AssertionError, match="Response violates schema"):
        run_schemathesis(url, tmp_path, "--include-path", "/v1/models")
