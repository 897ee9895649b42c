"""Where to get a wheel: pip's own settings name the index, so none is named here.

The index is `TEOLA_INDEX_URL`, else pip's (`PIP_INDEX_URL`, its configuration, its default).
Folders of `PIP_FIND_LINKS` and `file:` indexes are looked at first. The index is asked with the
simple API, as JSON (PEP 691) or HTML (PEP 503).
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from os import environ
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import httpx

from backends.errors import EngineUnavailable
from backends.models.download import Credentials

_Listed = tuple[str, str, str | None]  # file name, URL, published sha256

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"

# Asks pip in a process of its own: its modules are private and change the process they are in.
# An environment without pip still has the copy that Python carries in `ensurepip`.
_ASK_PIP = """
import json, sys
try:
    import pip
except ImportError:
    import ensurepip, pathlib
    sys.path += [str(p) for p in pathlib.Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")]
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
configuration = Configuration(isolated=False)
configuration.load()
settings = {"index-url": PyPI.simple_url}
for key, value in configuration.items():
    settings[key.rpartition(".")[2]] = value
print(json.dumps(settings))
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What pip is configured with, as far as it matters here."""

    indexes: tuple[str, ...]
    folders: tuple[Path, ...] = ()
    cert: str | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where a wheel is: a local path, or a URL without credentials and the credentials apart."""

    path: Path | None = None
    url: str = ""
    credentials: Credentials | None = None
    sha256: str | None = None  # as the index publishes it


def read_settings() -> Settings:
    """teola's own variables first, then everything pip knows. Raises EngineUnavailable."""
    if own := environ.get("TEOLA_INDEX_URL"):
        return Settings(indexes=(own,))
    asked = _ask_pip()
    indexes = (asked["index-url"], *asked.get("extra-index-url", "").split())
    links = asked.get("find-links", "").split()
    return Settings(indexes, tuple(_local_path(link) for link in links), asked.get("cert"))


def find_wheel(
    client: httpx.Client, settings: Settings, package: str, wheel: str
) -> Iterator[Location]:
    """Every place that has `wheel`, nearest first. Raises EngineUnavailable when none has it."""
    reasons: list[str] = []
    found = 0
    for folder in settings.folders:
        if (folder / wheel).is_file():
            found += 1
            yield Location(path=folder / wheel)
    for index in sorted(settings.indexes, key=lambda url: not url.startswith("file:")):
        try:
            location = _look_in(client, index, package, wheel)
        except EngineUnavailable as error:
            reasons.append(str(error))
            continue
        found += 1
        yield location
    if not found:
        raise EngineUnavailable(f"cannot find {wheel}: " + "; ".join(reasons))


def _ask_pip() -> dict[str, str]:
    command = [sys.executable, "-P", "-c", _ASK_PIP]  # -P: nothing of the current folder
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        raise EngineUnavailable(
            "pip cannot be asked for the package index; set TEOLA_INDEX_URL to its simple API URL"
        )
    settings: dict[str, str] = json.loads(answer.stdout)
    return settings


def _look_in(client: httpx.Client, index: str, package: str, wheel: str) -> Location:
    base, credentials = _strip_credentials(index)
    page_url = f"{base.rstrip('/')}/{re.sub(r'[-_.]+', '-', package).lower()}/"
    if page_url.startswith("file:"):
        listed = _read_html(_read_page(page_url), page_url)
    else:
        listed = _ask_index(client, page_url, credentials)
    for name, url, sha256 in listed:
        if name == wheel:
            return _location(url, sha256, page_url, credentials)
    raise EngineUnavailable(f"the package index at {page_url} does not list {wheel}")


def _location(
    url: str, sha256: str | None, page_url: str, credentials: Credentials | None
) -> Location:
    if url.startswith("file:"):
        return Location(path=_local_path(url), sha256=sha256)
    bare, own = _strip_credentials(url)
    same_host = urlsplit(bare).netloc == urlsplit(page_url).netloc
    return Location(None, bare, own or (credentials if same_host else None), sha256)


def _ask_index(
    client: httpx.Client, page_url: str, credentials: Credentials | None
) -> list[_Listed]:
    try:
        response = client.get(page_url, headers={"Accept": _ACCEPT}, auth=credentials)
    except httpx.HTTPError as error:
        raise EngineUnavailable(f"cannot reach the package index at {page_url}: {error}") from error
    if response.status_code != 200:
        raise EngineUnavailable(f"the package index at {page_url} answered {response.status_code}")
    if "json" in response.headers.get("content-type", ""):
        return _read_json(response, page_url)
    return _read_html(response.text, page_url)


def _read_json(response: httpx.Response, page_url: str) -> list[_Listed]:
    try:
        return [
            (file["filename"], urljoin(page_url, file["url"]), file.get("hashes", {}).get("sha256"))
            for file in response.json()["files"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineUnavailable(f"{page_url} does not answer as a package index") from error


def _read_html(page: str, page_url: str) -> list[_Listed]:
    parser = _Links()
    parser.feed(page)
    listed = []
    for href in parser.hrefs:
        url, fragment = urldefrag(urljoin(page_url, href))
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        listed.append((name, url, sha256))
    return listed


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.hrefs += [value for name, value in attrs if name == "href" and value]


def _read_page(url: str) -> str:
    path = _local_path(url) / "index.html"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise EngineUnavailable(f"cannot read {path}: {error.strerror}") from error


def _local_path(link: str) -> Path:
    return Path(url2pathname(urlsplit(link).path)) if link.startswith("file:") else Path(link)


def _strip_credentials(url: str) -> tuple[str, Credentials | None]:
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, None
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return urlunsplit(bare), (unquote(user), unquote(password))
