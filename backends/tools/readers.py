"""How the content of each kind of file becomes parts.

A reader raises DocumentError, which does not name the file, or UnicodeDecodeError.
"""

import gzip
import io
import json
import logging
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backends.errors import DocumentError
from backends.optional import optional_imports
from backends.tools.html_text import visible_text


@dataclass(frozen=True, slots=True)
class Part:
    """One document of a file."""

    text: str
    name: str = "1"  # unique in its file: a page or line number, or the document's own id
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_text(content: bytes) -> Iterator[Part]:
    """The whole file."""
    yield Part(_decoded(content))


def read_markdown(content: bytes) -> Iterator[Part]:
    """The whole file; its title is the first heading."""
    text = _decoded(content)
    heading = re.search(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", text, re.MULTILINE)
    yield Part(text, title=heading[1] if heading else "")


def _decoded(content: bytes) -> str:
    """With each line's end as a newline."""
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()


def read_html(content: bytes) -> Iterator[Part]:
    """The visible text, a line a block."""
    with optional_imports("documents"):
        from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning
    warnings.filterwarnings("ignore", category=MarkupResemblesLocatorWarning)  # a page of one word
    soup = BeautifulSoup(content, "html.parser")  # finds the encoding itself
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    yield Part(visible_text(soup), title=title)


def read_pdf(content: bytes) -> Iterator[Part]:
    """A part a page; pages without text (scans) are left out, their numbers too."""
    with optional_imports("documents"):
        from pypdf import PdfReader
    _silence_pypdf()
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("is encrypted; store it without a password")
        title = str((reader.metadata and reader.metadata.title) or "")
        pages = [page.extract_text() for page in reader.pages]
    except DocumentError:
        raise
    except Exception as error:  # a broken PDF makes the parser fail in any way
        raise DocumentError(f"cannot be read as PDF: {error}") from error
    for number, text in enumerate(pages, start=1):
        if text.strip():
            yield Part(text, str(number), title, {"page": number})


def _silence_pypdf() -> None:
    """It logs what it stumbles over, then raises: once is enough. A level set by the user stays."""
    log = logging.getLogger("pypdf")
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)


def read_packed_jsonl(content: bytes) -> Iterator[Part]:
    """JSON lines in a gzip file."""
    try:
        unpacked = gzip.decompress(content)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DocumentError(f"is not a whole gzip file: {error}") from error
    yield from read_jsonl(unpacked)


def read_jsonl(content: bytes) -> Iterator[Part]:
    """A part a line: an object with `text` and, if it likes, `id`, `title` and further fields.

    An id that an earlier line has too gets the line's number behind it.
    """
    taken: set[str] = set()
    for number, line in enumerate(_decoded(content).split("\n"), start=1):
        if line.strip():
            part = _json_part(number, line)
            while part.name in taken:
                part = replace(part, name=f"{part.name}+{number}")
            taken.add(part.name)
            yield part


def _json_part(number: int, line: str) -> Part:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DocumentError(f"line {number}: is not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DocumentError(f"line {number}: needs an object with a string 'text'")
    name = str(record.pop("id", "") or number)
    return Part(record.pop("text"), name, str(record.pop("title", "") or ""), record)
