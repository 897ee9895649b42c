"""One large file over HTTP: resumed where it was cut, retried with back-off, checked by hash.

The bytes so far lie in `NAME.part`, so a killed process resumes too. The file appears under its
own name only when its hash is right.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path

import httpx

from backends.errors import EngineUnavailable
from backends.models.cache import sha256_of

_BACKOFF_S = 0.5
_GIVE_UP_AFTER = 5  # failures in a row that brought no byte
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})

Credentials = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """A file to download and what it must be. `url` carries no credentials: it may be printed."""

    url: str
    sha256: str
    size_bytes: int
    credentials: Credentials | None = None


class _InterruptedError(Exception):
    """This attempt ended early; what came is kept and the next one goes on from there."""


def http_client(cert: str | None = None) -> httpx.Client:
    """A client that trusts what pip trusts: `PIP_CERT`, pip's own setting, `SSL_CERT_FILE`.

    Raises EngineUnavailable when that file cannot be read.
    """
    cafile = environ.get("PIP_CERT") or cert or environ.get("SSL_CERT_FILE")
    try:
        verify = ssl.create_default_context(cafile=cafile) if cafile else True
    except OSError as error:
        raise EngineUnavailable(f"cannot read the certificates {cafile!r}: {error}") from error
    return httpx.Client(verify=verify, follow_redirects=True, timeout=httpx.Timeout(60, connect=20))


def download(
    client: httpx.Client,
    source: Source,
    target: Path,
    progress: Callable[[int], None],
) -> None:
    """Bring `source` to `target`; `progress` hears the bytes present. Raises EngineUnavailable."""
    part = target.with_name(target.name + ".part")
    was_resumed = _size(part) > 0
    _complete(client, source, part, progress)
    if was_resumed and sha256_of(part) != source.sha256:  # an old part may be spoilt: start afresh
        part.unlink()
        _complete(client, source, part, progress)
    if (found := sha256_of(part)) != source.sha256:
        part.unlink()
        raise EngineUnavailable(
            f"{source.url} is not the pinned file: sha256 {found}, expected {source.sha256}"
        )
    part.replace(target)


def _complete(
    client: httpx.Client,
    source: Source,
    part: Path,
    progress: Callable[[int], None],
) -> None:
    failures = 0
    while (before := _size(part)) < source.size_bytes:
        try:
            _attempt(client, source, part, progress)
        except _InterruptedError as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures == _GIVE_UP_AFTER:
                raise EngineUnavailable(f"cannot download {source.url}: {error}") from error
            time.sleep(_BACKOFF_S * 2**failures)


def _attempt(
    client: httpx.Client, source: Source, part: Path, progress: Callable[[int], None]
) -> None:
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    # Ranges and sizes are those of the file itself, not of a compressed transfer of it.
    headers["Accept-Encoding"] = "identity"
    with (
        _transport_errors(),
        client.stream("GET", source.url, headers=headers, auth=source.credentials) as response,
    ):
        _check_status(response, source.url, part)
        with part.open("ab") as file:
            if response.status_code != 206:
                file.truncate(0)
                have = 0
            for chunk in response.iter_bytes():
                file.write(chunk)
                have += len(chunk)
                progress(have)
                if have > source.size_bytes:
                    break
    _check_size(part, source)


@contextmanager
def _transport_errors() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:  # no route, timeout, cut connection, broken protocol
        raise _InterruptedError(str(error) or type(error).__name__) from error
    except httpx.HTTPError as error:
        raise EngineUnavailable(f"cannot download: {error}") from error


def _check_status(response: httpx.Response, url: str, part: Path) -> None:
    code = response.status_code
    if code == 416:
        part.unlink(missing_ok=True)  # what is there is no beginning of this file
        raise _InterruptedError("the server cannot resume there")
    if code in _WORTH_RETRYING:
        raise _InterruptedError(f"the server answered {code}")
    if code >= 400:
        raise EngineUnavailable(f"cannot download {url}: the server answered {code}")


def _check_size(part: Path, source: Source) -> None:
    size = _size(part)
    if size > source.size_bytes:
        part.unlink()
        raise EngineUnavailable(
            f"{source.url} is not the pinned file: longer than {source.size_bytes} bytes"
        )
    if size < source.size_bytes:
        raise _InterruptedError(f"cut after {size} of {source.size_bytes} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
