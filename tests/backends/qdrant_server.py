"""qdrant's HTTP API on loopback, in front of its local mode: the parts that a store calls.

Faults are put in front of answers: a status, a connection that ends, silence.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qdrant_client import QdrantClient, models

Answer = tuple[int, Any]


class QdrantServer:
    """Asks for `api_key`, if it has one. `faults` are used up, one a request."""

    def __init__(self, port: int = 0, client: QdrantClient | None = None) -> None:
        self.client = client or QdrantClient(
            location=":memory:", force_disable_check_same_thread=True
        )
        self.api_key: str | None = None
        self.faults: list[Callable[[BaseHTTPRequestHandler], Answer | None]] = []
        self.seen: list[str] = []
        self.released = threading.Event()  # ends every silence
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"qdrant://127.0.0.1:{self.port}/docs"

    def stop(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: Any, key: str | None) -> Answer:
        self.seen.append(f"{method} {path}")
        if self.api_key is not None and key != self.api_key:
            return 401, {"status": {"error": "Must provide an API key"}}
        with self._lock:
            try:
                result = _run(self.client, method, path.strip("/").split("/")[1:], body)
            except ValueError as error:
                return 400, {"status": {"error": str(error)}}
        return 200, {"result": result, "status": "ok", "time": 0.0}


def _run(client: Any, method: str, path: list[str], body: Any) -> Any:
    done = {"operation_id": 0, "status": "completed"}
    match method, path:
        case "GET", []:
            return {"collections": []}
        case "GET", [name, "exists"]:
            return {"exists": client.collection_exists(name)}
        case "GET", [name]:
            return _json(client.get_collection(name))
        case "PUT", [name]:
            given = models.CreateCollection.model_validate(body)
            client.create_collection(
                name, vectors_config=given.vectors, sparse_vectors_config=given.sparse_vectors
            )
            return True
        case "PUT", [_, "index"]:
            return done
        case "PUT", [name, "vectors", vector]:
            config = models.DenseVectorNameConfig.model_validate(body)
            client.create_vector_name(name, vector, config)
            return done
        case "PUT", [name, "points"]:
            client.upsert(name, models.PointsList.model_validate(body).points)
            return done
        case "POST", [name, "points"]:
            asked = models.PointRequest.model_validate(body)
            found = client.retrieve(name, asked.ids, asked.with_payload, asked.with_vector)
            return _json(found)
        case "POST", [name, "points", "scroll"]:
            page = models.ScrollRequest.model_validate(body)
            records, offset = client.scroll(
                name, page.filter, page.limit, None, page.offset, page.with_payload
            )
            return {"points": _json(records), "next_page_offset": offset}
        case "POST", [name, "points", "query"]:
            query = models.QueryRequest.model_validate(body)
            idf = query.params and query.params.idf
            answer = client.query_points(
                name,
                query.query,
                using=query.using,
                query_filter=query.filter,
                search_params=models.SearchParams(idf=idf) if idf else None,
                limit=query.limit,
                with_payload=query.with_payload,
                with_vectors=query.with_vector,
            )
            return _json(answer)
        case "POST", [name, "points", "count"]:
            return _json(client.count(name, models.CountRequest.model_validate(body).filter))
        case "POST", [name, "points", "delete"]:
            client.delete(name, models.PointIdsList.model_validate(body))
            return done
        case "POST", [name, "points", "payload"]:
            change = models.SetPayload.model_validate(body)
            client.set_payload(name, change.payload, change.points)
            return done
    raise ValueError(f"not known: {method} {path}")


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(item) for item in value]
    return json.loads(value.model_dump_json())


def _handler(server: QdrantServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 0.5  # of an idle connection

        def log_message(self, *_: object) -> None: ...

        def _handle(self) -> None:
            size = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(size) or "null")
            answer: Answer | None = None
            if server.faults:
                answer = server.faults.pop(0)(self)
                if answer is None:
                    self.close_connection = True
                    return
            path = self.path.partition("?")[0]
            status, content = answer or server.answer(
                self.command, path, body, self.headers.get("api-key")
            )
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("retry-after", "7")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = _handle  # noqa: N815

    return Handler
