"""`teola serve-engine` and its clients as a benchmark worker: a connection and a stream a prompt.

    python served_worker.py local:smollm2-135m --option kv_tokens=40000

The clients are one loop that reads what comes and looks at it when all is there, so that what they
cost (they share the machine with the server) is little more than the system's calls.
"""

import json
import re
import resource
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.remote.servers import served

END = b"0\r\n\r\n"  # of a body in chunks


def generate(url: str, prompts: Sequence[list[int]], new: int) -> tuple[float, int]:
    """Seconds and tokens of all prompts at once."""
    split = urlsplit(url)
    requests = [_request(prompt, new) for prompt in prompts]
    with ExitStack() as stack:
        address = (split.hostname, split.port)
        opened = [stack.enter_context(socket.create_connection(address)) for _ in prompts]
        began = time.perf_counter()
        for connection, request in zip(opened, requests, strict=True):
            connection.sendall(request)
        answers = _read_all(opened)
        seconds = time.perf_counter() - began
    return seconds, sum(map(_num_tokens, answers))


def _request(prompt: list[int], new: int) -> bytes:
    asked = {"prompt": prompt, "max_tokens": new, "temperature": 0, "ignore_eos": True}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(asked | streamed).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _read_all(connections: Sequence[socket.socket]) -> list[bytes]:
    read: dict[socket.socket, list[bytes]] = {each: [] for each in connections}
    with selectors.DefaultSelector() as selector:
        for each in connections:
            selector.register(each, selectors.EVENT_READ)
        left = len(connections)
        while left:
            for key, _ in selector.select():
                connection: Any = key.fileobj
                read[connection].append(piece := connection.recv(1 << 16))
                if not piece or piece.endswith(END):
                    selector.unregister(connection)
                    left -= 1
    return [b"".join(pieces) for pieces in read.values()]


def _num_tokens(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:500]
    assert b"data: [DONE]" in answer, answer[-500:]
    return int(re.findall(rb'"completion_tokens": ?(\d+)', answer)[-1])


def main(words: Sequence[str]) -> None:
    with served(*words) as url:
        say()
        for line in sys.stdin:
            asked = json.loads(line)
            seconds, tokens = generate(url, asked["prompts"], asked["new"])
            peak_rss_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            say(s=seconds, tokens=tokens, peak_rss_mb=peak_rss_mb)


def say(**fields: Any) -> None:
    print("@" + json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
