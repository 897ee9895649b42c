"""Loading of small files made here, and of the samples' documents."""

import gzip
import json
import logging
import re
from pathlib import Path
from typing import Any, cast

import pytest

from backends.documents import Doc
from backends.errors import DocumentError, RequestRejected
from backends.tools.load import load

SAMPLES = Path(__file__).parents[3] / "samples" / "data" / "sqlite"


def make_pdf(*pages: str, title: str = "") -> bytes:
    """A PDF of one line a page, with its cross-reference table."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    body, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info {len(objects)} 0 R >>\n"
    tail = f"startxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}{tail}".encode()


def short(doc_id: str) -> str:
    """An id without the digest of its path."""
    return re.sub(r"~[0-9a-f]{12}#", "#", doc_id)


def about(path: Path, title: str, root: Path | None = None, **more: Any) -> dict[str, Any]:
    """The metadata of a file's document."""
    place = {"source": str(path), "path": str(path), "root": str(root or path)}
    return {**place, "title": title, **more}


def only(docs: list[Doc]) -> Doc:
    assert len(docs) == 1
    return docs[0]


def test_text_is_one_document_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("héllo\n", encoding="utf-8")
    (doc,) = load([str(path)])
    assert (doc.text, short(doc.id)) == ("héllo\n", "notes.txt#1")
    assert doc.metadata == about(path, "notes")


def test_the_title_of_markdown_is_its_first_heading(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("intro\n\n## The title ##\ntext")
    doc = only(load([str(path)]))
    assert doc.metadata["title"] == "The title"
    assert doc.text == "intro\n\n## The title ##\ntext"


def test_html_keeps_title_and_text_and_drops_code(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title> A &amp; B </title><style>p {}</style></head>"
        "<body><script>alert(1)</script><h1>Head</h1><p>Some <b>bold</b> text</p></body></html>"
    )
    doc = only(load([str(path)]))
    assert doc.metadata["title"] == "A & B"
    assert doc.text == "Head\nSome bold text"


def test_a_pdf_gives_a_document_a_page(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(make_pdf("First page", "", "Third page", title="My title"))
    docs = load([str(path)])
    assert [(short(doc.id), doc.text.strip()) for doc in docs] == [
        ("a.pdf#1", "First page"),
        ("a.pdf#3", "Third page"),
    ]
    assert docs[1].metadata == about(path, "My title", page=3)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_json_lines_give_a_document_a_line(tmp_path: Path, suffix: str) -> None:
    records = [{"id": "x", "title": "X", "text": "one", "year": 3}, {"text": "two"}]
    content = "\n\n".join(map(json.dumps, records)).encode()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    first, second = load([str(path)])
    assert (short(first.id), first.text) == (f"a{suffix}#x", "one")
    assert first.metadata == about(path, "X", year=3)
    assert (short(second.id), second.text) == (f"a{suffix}#3", "two")


def test_lines_of_one_id_are_told_apart(tmp_path: Path) -> None:
    lines = [{"id": "x", "text": "one"}, {"text": "two"}, {"id": "x", "text": "three"}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, [*lines, {"id": "2", "text": "four"}])))
    ids = [short(doc.id).partition("#")[2] for doc in load([str(path)])]
    assert ids == ["x", "2", "x+3", "2+4"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    for name in ("docs/b.txt", "docs/a.txt", "docs/sub/a.txt", "docs/skip.bin"):
        (tmp_path / name).write_text(name)
    return tmp_path / "docs"


def names(docs: list[Doc]) -> list[str]:
    return [doc.metadata["source"] for doc in docs]


def test_a_folder_gives_all_its_known_files_sorted(tree: Path) -> None:
    docs = load([str(tree)])
    assert names(docs) == [f"{tree}/{name}" for name in ("a.txt", "b.txt", "sub/a.txt")]
    assert {doc.metadata["root"] for doc in docs} == {str(tree)}


def test_a_pattern_gives_its_matches(tree: Path) -> None:
    docs = load([f"{tree}/*.txt"])
    assert names(docs) == [f"{tree}/a.txt", f"{tree}/b.txt"]
    assert {doc.metadata["root"] for doc in docs} == {f"{tree}/*.txt"}
    assert names(load([f"{tree}/**/a.txt"])) == [f"{tree}/a.txt", f"{tree}/sub/a.txt"]


def test_a_file_named_twice_is_loaded_once(tree: Path) -> None:
    docs = load([str(tree / "a.txt"), str(tree), f"{tree}/a*"])
    assert names(docs) == [f"{tree}/{name}" for name in ("a.txt", "b.txt", "sub/a.txt")]


def test_a_file_has_one_id_however_it_is_reached(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree.parent / "link").symlink_to(tree)
    monkeypatch.chdir(tree)
    here = ["sub/a.txt", "sub", "s*/a*", "../docs/sub/a.txt"]
    ways = [*here, str(tree / "sub" / "a.txt"), f"{tree}/sub", "../link/sub", "../link/sub/a.txt"]
    docs = [only(load([way])) for way in ways]
    assert len({doc.id for doc in docs}) == 1
    assert {doc.metadata["path"] for doc in docs} == {f"{tree}/sub/a.txt"}
    assert docs[0].metadata["source"] == "sub/a.txt"


def test_different_files_have_different_ids_also_in_different_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = set()
    for user in ("a", "b"):
        (tmp_path / user / "docs").mkdir(parents=True)
        (tmp_path / user / "docs" / "x.md").write_text("the same")
        monkeypatch.chdir(tmp_path / user)
        ids |= {only(load([given])).id for given in ("docs", "docs/x.md", str(tmp_path / user))}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.docx", b"x", r"a\.docx: cannot read this kind of file; supported: \.htm, \.html"),
        ("a.txt", b"\xff\xfe\xfa", r"a\.txt: is not UTF-8"),
        ("a.pdf", b"nonsense", r"a\.pdf: cannot be read as PDF"),
        ("a.jsonl", b'{"text": 1}', r"a\.jsonl: line 1: needs an object"),
        ("a.jsonl", b'{"text": "a"}\n{', r"a\.jsonl: line 2: is not JSON"),
        ("a.jsonl.gz", b"plain", r"a\.jsonl\.gz: is not a whole gzip"),
        ("b.jsonl.gz", gzip.compress(b'{"text": "a"}')[:-9], r"b\.jsonl\.gz: is not a whole gzip"),
    ],
)
def test_an_unreadable_file_is_named(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError, match=reason):
        load([str(tmp_path / name)])


def test_a_bad_file_of_a_folder_is_named_with_the_way_out(tree: Path) -> None:
    (tree / "latin.txt").write_bytes("Größe".encode("latin-1"))
    with pytest.raises(DocumentError) as raised:
        load([str(tree)])
    assert f"{tree}/latin.txt: is not UTF-8 text (byte 2:" in str(raised.value)
    assert 'tl.load(..., on_error="skip")' in str(raised.value)


def test_bad_files_are_skipped_with_a_warning_when_asked(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "latin.txt").write_bytes("Größe".encode("latin-1"))
    (tree / "broken.pdf").write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        docs = load([str(tree), str(tree / "skip.bin")], on_error="skip")
    assert names(docs) == [f"{tree}/{name}" for name in ("a.txt", "b.txt", "sub/a.txt")]
    assert "on_error" not in caplog.text
    warned = [record.getMessage().partition(": ")[0] for record in caplog.records]
    assert warned == [f"skipped {tree}/{name}" for name in ("broken.pdf", "latin.txt", "skip.bin")]


def test_a_path_that_leads_nowhere_is_never_skipped(tree: Path) -> None:
    with pytest.raises(DocumentError, match="no file or folder"):
        load([str(tree / "none.txt")], on_error="skip")


def test_an_unknown_on_error_is_named() -> None:
    with pytest.raises(RequestRejected, match="on_error is 'raise' or 'skip', not 'ignore'"):
        load([], on_error=cast(Any, "ignore"))


def test_an_encrypted_pdf_says_so(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    (tmp_path / "plain.pdf").write_bytes(make_pdf("text"))
    writer = PdfWriter(clone_from=PdfReader(tmp_path / "plain.pdf"))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    with pytest.raises(DocumentError, match=r"locked\.pdf: is encrypted"):
        load([str(tmp_path / "locked.pdf")])


@pytest.mark.parametrize("path", ["/no/such/file.txt", "/no/such/*.txt"])
def test_a_missing_file_is_named(path: str) -> None:
    with pytest.raises(DocumentError, match=r"no (file or folder|file matches) '/no/such/"):
        load([path])


def test_a_bare_string_is_refused() -> None:
    with pytest.raises(DocumentError, match="list of paths"):
        load("notes.txt")


def test_a_pdf_with_compressed_pages_loads(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    lines = [f"This is page {number} of a report" for number in range(1, 8)]
    (tmp_path / "plain.pdf").write_bytes(make_pdf(*lines))
    writer = PdfWriter(clone_from=PdfReader(tmp_path / "plain.pdf"))
    for page in writer.pages:
        page.compress_content_streams()
    writer.write(tmp_path / "packed.pdf")
    assert b"This is page" not in (tmp_path / "packed.pdf").read_bytes()
    assert [doc.text.strip() for doc in load([str(tmp_path / "packed.pdf")])] == lines


def test_the_samples_documents_load() -> None:
    docs = load([str(SAMPLES / "*.md"), str(SAMPLES)])
    assert len(docs) == len(list(SAMPLES.glob("*.md"))) > 5
    assert all(doc.text.strip() for doc in docs)
    assert len({doc.id for doc in docs}) == len(docs)


def test_of_an_unreadable_pdf_only_our_error_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"nonsense")
    with pytest.raises(DocumentError, match=r"a\.pdf: cannot be read as PDF"):
        load([str(tmp_path / "a.pdf")])
    assert caplog.text == ""
    assert capfd.readouterr().err == ""


def test_the_users_own_level_of_pypdfs_log_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("pypdf")
    monkeypatch.setattr(log, "level", logging.INFO)
    (tmp_path / "a.pdf").write_bytes(make_pdf("text"))
    load([str(tmp_path / "a.pdf")])
    assert log.level == logging.INFO
