"""How each kind of file becomes parts. A reader may raise OSError and UnicodeDecodeError too."""

import gzip
import json
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from backends.errors import DocumentError
from backends.optional import optional_imports


@dataclass(frozen=True, slots=True)
class Part:
    """One document of a file."""

    text: str
    name: str = "1"  # unique in its file: a page or line number, or the document's own id
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_text(path: Path) -> Iterator[Part]:
    """The whole file."""
    yield Part(path.read_text(encoding="utf-8-sig"))


def read_markdown(path: Path) -> Iterator[Part]:
    """The whole file; its title is the first heading."""
    text = path.read_text(encoding="utf-8-sig")
    heading = re.search(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", text, re.MULTILINE)
    yield Part(text, title=heading[1] if heading else "")


def read_html(path: Path) -> Iterator[Part]:
    """The visible text, a line a block."""
    with optional_imports("local"):
        from bs4 import BeautifulSoup
    soup = BeautifulSoup(path.read_bytes(), "html.parser")  # finds the encoding itself
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for hidden in soup(["script", "style", "noscript", "template", "head"]):
        hidden.decompose()
    lines = (line.strip() for line in soup.get_text("\n").splitlines())
    yield Part("\n".join(line for line in lines if line), title=title)


def read_pdf(path: Path) -> Iterator[Part]:
    """A part a page; pages without text (scans) are left out, their numbers too."""
    with optional_imports("local"):
        from pypdf import PdfReader
    _silence_pypdf()
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError(f"{path}: is encrypted; store it without a password")
        title = str((reader.metadata and reader.metadata.title) or "")
        pages = [page.extract_text() for page in reader.pages]
    except (DocumentError, OSError):
        raise
    except Exception as error:  # a broken PDF makes the parser fail in any way
        raise DocumentError(f"{path}: cannot be read as PDF: {error}") from error
    for number, text in enumerate(pages, start=1):
        if text.strip():
            yield Part(text, str(number), title, {"page": number})


def _silence_pypdf() -> None:
    """It logs what it stumbles over, then raises: once is enough. A level set by the user stays."""
    log = logging.getLogger("pypdf")
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)


def read_jsonl(path: Path) -> Iterator[Part]:
    """A part a line: an object with `text` and, if it likes, `id`, `title` and further fields."""
    with _open_text(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _json_part(path, number, line)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DocumentError(f"{path}: is not a whole gzip file: {error}") from error


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _json_part(path: Path, number: int, line: str) -> Part:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DocumentError(f"{path}, line {number}: is not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DocumentError(f"{path}, line {number}: needs an object with a string 'text'")
    name = str(record.pop("id", "") or number)
    return Part(record.pop("text"), name, str(record.pop("title", "") or ""), record)
