"""Servers that answer what a test says."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

METRICS = """\
teola_num_requests_waiting 3.0
teola_num_requests_running 2.0
teola_prefilled_tokens_total 300.0
teola_cached_tokens_total 100.0
teola_fused_tokens_total 0.0
teola_decoded_tokens_total 50.0
teola_time_to_first_token_seconds_count 10.0
teola_inter_token_latency_seconds_count {pieces}.0
teola_kv_num_pages 100.0
teola_kv_free_pages 40.0
"""


def run_body(**changes: Any) -> dict[str, Any]:
    progress = {
        "done": 2,
        "total": 8,
        "failed": 0,
        "text_pieces": 5,
        "num_running": 2,
        "running": [
            {"node": "expand", "op": "decode", "engine": "llm", "seconds": 0.5},
            {"node": "index.vectors", "op": "embed", "engine": "embedder", "seconds": 1.5},
        ],
        "waiting": {"reranker": 2},
        **changes.pop("progress", {}),
    }
    usage = {
        "prompt_tokens": 40,
        "completion_tokens": 7,
        "total_tokens": 47,
        "prompt_tokens_details": {"cached_tokens": 10},
    }
    run = {"id": "run_0123456789abcdef", "object": "run", "app": "rag", "seconds": 12.5}
    return {**run, "status": "running", "usage": usage, "progress": progress, **changes}


class StubServer:
    """`answers` by path: a status and a body; what is not there is 404."""

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.key = ""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = stub.answers.get(self.path.partition("?")[0], (404, "{}"))
                if stub.key and self.headers["authorization"] != f"Bearer {stub.key}":
                    status, body = 401, "{}"
                self.send_response(status)
                self.send_header("content-length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def is_engine(self, pieces: int = 0) -> None:
        self.answers = {"/metrics": (200, METRICS.format(pieces=pieces))}

    def has_runs(self, *runs: Any) -> None:
        self.is_engine()
        self.answers["/v1/runs"] = (200, json.dumps({"object": "list", "data": runs}))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
