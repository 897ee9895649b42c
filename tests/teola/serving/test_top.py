from collections.abc import Callable
from typing import Any

import httpx
import pytest

from teola.top.server import Server


@pytest.mark.server
def test_teola_top_reads_an_engines_server(serve: Callable[..., Any]) -> None:
    with serve("fake:") as process:
        server = Server(process.url)
        first = server.look()
        body = {"prompt": "Once", "max_tokens": 20, "ignore_eos": True}
        httpx.post(f"{process.url}/v1/completions", json=body, timeout=60).raise_for_status()
        second = server.look()
        server.close()

    assert (first.kind, first.problem) == ("engine", "")
    assert first.load is not None
    assert second.load is not None
    assert (first.load.hit_rate, second.load.hit_rate) == (None, 0.0)
    assert second.load.tokens_per_s is not None
    assert second.load.tokens_per_s > 0
