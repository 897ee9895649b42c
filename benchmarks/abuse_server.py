"""Clients that try to hurt `teola serve-engine`, and what it costs the others.

    python benchmarks/abuse_server.py [--llm local:smollm2-135m] [--embedder local:...] [LOAD ...]

Starts a server with its default limits, warms it, and sends one load after another: long bodies,
long lists, half requests, idle sockets, faults of every kind, floods. Meanwhile a process of its
own asks `/health` fifty times a second. Growth of memory is the peak of resident memory over what
it was before the first load. Last line: one JSON object.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

CHAT, COMPLETE, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_PROBE_S = 0.02
_FIRST_PROBES = 10  # connections are made, code is read


@dataclass
class Driver:
    """Sends requests and counts what comes back."""

    host: str
    port: int
    statuses: Counter[int] = field(default_factory=Counter)  # 0: none came

    async def send(self, path: str, body: bytes, method: str = "POST") -> int:
        """The status of one request on a connection of its own."""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        whole = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        status = 0
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(whole)
            line = await reader.readline()
            status = int(line.split()[1]) if line.startswith(b"HTTP/") else 0
            await reader.read(-1)
            writer.close()
        self.statuses[status] += 1
        return status

    async def send_all(self, path: str, bodies: Iterable[bytes]) -> list[int]:
        return await asyncio.gather(*(self.send(path, body) for body in bodies))

    async def begin(self, said: bytes) -> asyncio.StreamWriter:
        """A request that is not finished."""
        _, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(said)
        await writer.drain()
        return writer


def chat(text: str, **fields: object) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"messages": messages, "max_tokens": 4, "temperature": 0, **fields}).encode()


def schema(content: object) -> dict[str, object]:
    named = {"name": "x", "schema": content}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def many(before: str, item: str, times: int, after: str) -> bytes:
    """A long list, written without making it."""
    return (before + ",".join([item] * times) + after).encode()


async def oversized_chats(driver: Driver) -> None:
    """Ten chats of 10 MB at once, and a chat of 5,000 characters beside them."""
    long = [chat("word " * 2_000_000)] * 10
    short = chat("One ordinary question about owls. " * 147)
    for _ in range(2):
        began_s = time.perf_counter()
        sending = asyncio.create_task(driver.send_all(CHAT, long))
        await asyncio.sleep(0.02)
        status = await driver.send(CHAT, short)
        print(f"    a chat of 5,000 characters beside them: {time.perf_counter() - began_s:.2f} s")
        assert status == 200
        assert set(await sending) == {400}


async def long_lists(driver: Driver) -> None:
    """What kept the event loop for seconds, and lists just within the limits."""
    cases = [
        (COMPLETE, many('{"prompt":[', "7", 31_000_000, "]}")),
        (CHAT, many('{"messages":[', '{"role":"user","content":""}', 500_000, "]}")),
        (COMPLETE, many('{"prompt":[', "7", 5_000_000, "]}")),
        (COMPLETE, many('{"prompt":[', '"a"', 1_000_000, "]}")),
        (COMPLETE, many('{"prompt":[', "7", 262_000, "]}")),
        (COMPLETE, many('{"prompt":[', "-7", 262_000, "]}")),
        (COMPLETE, many('{"prompt":[', "[7]", 130_000, "]}")),
        (CHAT, many('{"messages":[', '{"role":"user","content":"a"}', 16_000, "]}")),
        (EMBED, many('{"input":[', "7", 262_000, "]}")),
        (EMBED, many('{"input":[', '"a"', 262_000, "]}")),
        ("/detokenize", many('{"tokens":[', "7", 262_000, "]}")),
        (CHAT, many('{"messages":[],"stop":[', '"a"', 100_000, "]}")),
    ]
    for path, body in cases:
        await driver.send_all(path, [body] * 2)


async def tokenizing(driver: Driver) -> None:
    """Texts that are nearly short enough."""
    body = json.dumps({"prompt": "An owl. " * 100_000}).encode()
    await driver.send_all("/tokenize", [body] * 20)
    await driver.send_all(CHAT, [chat("An owl. " * 12_000 + str(i)) for i in range(20)])


async def half_uploads(driver: Driver) -> None:
    """Clients that go away while their bodies arrive."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{"
    for _ in range(10):
        for writer in await asyncio.gather(*(driver.begin(head) for _ in range(26))):
            writer.close()
            driver.statuses[499] += 1


async def left_streams(driver: Driver) -> None:
    """Clients that go away while they are answered."""
    body = chat("Tell a story.", max_tokens=500, stream=True)
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    )
    writers = await asyncio.gather(*(driver.begin(head + body) for _ in range(100)))
    await asyncio.sleep(0.3)
    for writer in writers:
        writer.close()
        driver.statuses[499] += 1


async def slow_heads(driver: Driver) -> None:
    """Sockets that begin a request and never go on, more than the server keeps; others are
    answered."""
    said = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx: "
    writers = await asyncio.gather(*(driver.begin(said) for _ in range(1100)))
    for _ in range(50):
        assert await driver.send("/v1/models", b"", "GET") == 200
    for writer in writers:
        writer.close()


async def grammar_faults(driver: Driver) -> None:
    """Schemas and patterns that cannot be followed."""
    optional = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}}
    faults = [
        schema({"$ref": "#"}),
        schema(optional),
        schema({"type": "string", "pattern": "x(a{1000}){1000}"}),
        {"regex": "a{1000000}"},
        {"regex": "xa{1000000}"},
        {"regex": r"[^\s\S]"},
        {"regex": "("},
    ]
    for streams in (False, True):
        for fault in faults:
            found = await driver.send_all(CHAT, [chat("hi", stream=streams, **fault)] * 8)
            assert set(found) == {400}, (fault, found)


async def wrong_fields(driver: Driver) -> None:
    """Bodies that are no request."""
    bodies = [
        b"{",
        b"[]",
        b"\xff\xfe",
        b"",
        b"[" * 100_000,
        b'{"messages": ' + b"[" * 150 + b"]" * 150 + b"}",
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"a"}],"temperature":NaN}',
        chat("a", temperature=1e400),
        chat("a", n=10**400) if sys.get_int_max_str_digits() == 0 else chat("a", n=10**40),
        chat("a", stop=["a"] * 100_000),
        chat("a", min_tokens=9, max_tokens=3),
        chat("a", logit_bias={str(i): 1 for i in range(100_000)}),
        chat("a", temprature=1),
        chat("a", tools=[{"type": "function"}] * 1000),
        json.dumps({"messages": [{"role": "tool", "content": None}] * 100}).encode(),
    ]
    for _ in range(8):
        for path in (CHAT, COMPLETE, EMBED, "/tokenize"):
            found = await driver.send_all(path, bodies)
            assert all(400 <= status < 500 for status in found if status != 200), found


async def flood(driver: Driver) -> None:
    """More clients at once than there is room for."""
    found = await driver.send_all(CHAT, [chat(f"Say {i}.", max_tokens=2) for i in range(400)])
    assert set(found) <= {200, 429}
    for _ in range(4):
        await asyncio.gather(*(driver.send("/v1/models", b"", "GET") for _ in range(150)))


LOADS: dict[str, Callable[[Driver], Awaitable[None]]] = {
    load.__name__: load
    for load in (
        oversized_chats,
        long_lists,
        tokenizing,
        half_uploads,
        left_streams,
        slow_heads,
        grammar_faults,
        wrong_fields,
        flood,
    )
}


async def warm(driver: Driver) -> None:
    """Whatever is loaded or compiled once, and the KV pool's pages that any busy server touches."""
    for body in (chat("hi", temperature=1), chat("hi", regex="[ab]"), chat("hi", stream=True)):
        assert await driver.send(CHAT, body) == 200
    await driver.send(EMBED, b'{"input": "hi"}')
    await driver.send_all(CHAT, [chat(f"{i} owls. " * 700, max_tokens=2) for i in range(8)])


def memory_mb(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    (kib,) = re.findall(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(kib) / 1024


@contextmanager
def serving(words: list[str]) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """A server process, its URL, and the file that it writes its errors to."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "stderr"
        with said.open("w") as errors:
            command = [str(Path(sys.executable).parent / "teola"), "serve-engine", *words]
            process = subprocess.Popen([*command, "--port", "0"], stderr=errors, text=True)
        try:
            while not (ready := re.search(r"^ready on (\S+)/v1", said.read_text(), re.MULTILINE)):
                assert process.poll() is None, said.read_text()
                time.sleep(0.05)
            yield process, ready[1], said
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


async def probe(host: str, port: int) -> None:
    """Until standard input ends: the latency of /health, line by line as it is asked for."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):  # so that what it waits for is the server, and no other process
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    asking = loop.create_task(lines.readline())
    reader, writer = await asyncio.open_connection(host, port)
    found: list[float] = []
    while True:
        began_s = time.perf_counter()
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        status = await reader.readline()
        while (line := await reader.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        assert status.startswith(b"HTTP/1.1 200 "), status
        found.append(time.perf_counter() - began_s)
        if asking.done():
            print(json.dumps(found), flush=True)
            if not asking.result():
                return
            found, asking = [], loop.create_task(lines.readline())
        await asyncio.sleep(_PROBE_S)


class Probe:
    """A process that asks /health all the time."""

    def __init__(self, host: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--probe", f"{host}:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def take(self) -> list[float]:
        """The seconds of each answer since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: list[float] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


async def run(driver: Driver, pid: int, names: list[str]) -> tuple[float, float]:
    """Growth of memory in MiB and the longest wait for /health in seconds, over all loads."""
    await warm(driver)
    probe = Probe(driver.host, driver.port)
    while len(probe.take()) < _FIRST_PROBES:
        await asyncio.sleep(0.5)
    before_mb = memory_mb(pid, "VmRSS")
    longest_s = most_mb = 0.0
    for name in names:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        began_s, sent = time.perf_counter(), driver.statuses.total()
        print(f"{name}: {' '.join((LOADS[name].__doc__ or '').split())}", flush=True)
        await LOADS[name](driver)
        seconds, waits = time.perf_counter() - began_s, probe.take()
        grown_mb = memory_mb(pid, "VmHWM") - before_mb
        longest_s, most_mb = max(longest_s, *waits), max(most_mb, grown_mb)
        print(
            f"    {driver.statuses.total() - sent} requests in {seconds:.1f} s; /health at most "
            f"{max(waits) * 1e3:.1f} ms of {len(waits)}; peak {grown_mb:+.0f} MiB",
            flush=True,
        )
        await asyncio.sleep(0.3)
    probe.close()
    return most_mb, longest_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=", ".join(LOADS))
    parser.add_argument("--llm", default="local:smollm2-135m")
    parser.add_argument("--embedder", default="local:all-minilm-l6-v2")
    parser.add_argument("--probe", metavar="HOST:PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        host, _, port = args.probe.partition(":")
        asyncio.run(probe(host, int(port)))
        return
    with serving([args.llm, "--embedder", args.embedder]) as (process, url, said):
        parts = urlsplit(url)
        driver = Driver(str(parts.hostname), parts.port or 0)
        grown_mb, longest_s = asyncio.run(run(driver, process.pid, args.loads or list(LOADS)))
        num_tracebacks = said.read_text().count("Traceback")
    print(f"statuses {dict(sorted(driver.statuses.items()))}; {num_tracebacks} tracebacks")
    result = {
        "fivexx": sum(count for status, count in driver.statuses.items() if status >= 500),
        "health_max_s": round(longest_s, 4),
        "rss_growth_mb": round(grown_mb),
        "requests": driver.statuses.total(),
        "tracebacks": num_tracebacks,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
