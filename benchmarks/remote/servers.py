"""Starts the servers of the remote benchmarks, and stops them."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

import httpx

from benchmarks.remote.clients import Servers

START_S = 300.0
EMULATED_LLM = "emulated:rtx-3090/llama-2-7b"
EMULATED_EMBEDDER = "emulated:rtx-3090/bge-large"
EMULATED_RERANKER = "emulated:rtx-3090/bge-reranker-large"


@contextmanager
def emulated_servers() -> Iterator[tuple[Servers, Mapping[str, str]]]:
    """An LLM, an embedder and a reranker: a server and an emulated device each."""
    with ExitStack() as stack:
        llm = stack.enter_context(served(EMULATED_LLM))
        embedder = stack.enter_context(served(None, "--embedder", EMULATED_EMBEDDER))
        reranker = stack.enter_context(served(None, "--reranker", EMULATED_RERANKER))
        yield _named(llm, embedder, reranker)


@contextmanager
def local_servers() -> Iterator[tuple[Servers, Mapping[str, str]]]:
    """The samples' own models in one server: for trying the programs out."""
    words = ("--embedder", "local:all-minilm-l6-v2", "--reranker", "local:maxsim")
    with served("local:smollm2-135m", *words) as url:
        yield _named(url, url, url)


@contextmanager
def served(llm: str | None, *words: str) -> Iterator[str]:
    """`teola serve-engine` in a process of its own; its URL."""
    command = [str(Path(sys.executable).parent / "teola"), "serve-engine", *([llm] if llm else [])]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, *words, "--port", "0"], stderr=log, stdout=log, env=dict(os.environ)
        )
        try:
            yield _said(process, log, r"ready on (http://[\d.]+:\d+)")[1]
        finally:
            process.terminate()
            process.wait(timeout=30)


def _said(process: "subprocess.Popen[bytes]", log: TextIO, wanted: str) -> "re.Match[str]":
    """What a server says once it is ready."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        log.seek(0)
        said = log.read()
        if found := re.search(wanted, said):
            return found
        if process.poll() is not None:
            raise SystemExit(f"the server ended: {said}")
        time.sleep(0.2)
    raise SystemExit(f"the server is not ready after {START_S:g} s: {said}")


def _named(llm: str, embedder: str, reranker: str) -> tuple[Servers, Mapping[str, str]]:
    names = [models_of(url) for url in (llm, embedder, reranker)]
    servers = Servers(
        llm, names[0][0], embedder, names[1][-2 % len(names[1])], reranker, names[2][-1]
    )
    hosts = [url.removeprefix("http://") for url in (llm, embedder, reranker)]
    return servers, {
        "llm": f"teola://{hosts[0]}?tokenizer=smollm2-135m",  # that of emulated models
        "embedder": f"teola://{hosts[1]}",
        "reranker": f"teola://{hosts[2]}",
    }


def models_of(url: str) -> Sequence[str]:
    """The names of what a server serves."""
    return [card["id"] for card in httpx.get(f"{url}/v1/models").json()["data"]]


@contextmanager
def vllm_servers() -> Iterator[tuple[Servers, Mapping[str, str]]]:
    """vLLM with the default model, on this machine; embedder and reranker in a server of teola."""
    words = ("--embedder", "local:all-minilm-l6-v2", "--reranker", "local:maxsim")
    with started_vllm() as (url, model), served(None, *words) as others:
        names = models_of(others)
        host = others.removeprefix("http://")
        engines = {
            "llm": f"vllm://{url.removeprefix('http://')}/{model}",
            "embedder": f"teola://{host}",
            "reranker": f"teola://{host}",
        }
        yield Servers(url, model, others, names[0], others, names[1], is_vllm=True), engines


@contextmanager
def started_vllm() -> Iterator[tuple[str, str]]:
    """Its address and the name of its model. Needs `teola engine install vllm --cpu`."""
    command = [str(Path(sys.executable).parent / "teola"), "engine", "start", "vllm"]
    words = ["--model", "smollm2-135m", "--dtype", "float32", "--port", "0", "--no-color"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, *words], stderr=log, stdout=log, start_new_session=True
        )
        try:
            found = _said(process, log, r"vllm://([\d.]+:\d+)/(\S+)")
            yield f"http://{found[1]}", found[2]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
