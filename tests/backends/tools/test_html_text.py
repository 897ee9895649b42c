"""HTML as text: what belongs to a line stays on it."""

from pathlib import Path

import pytest

from backends.tools.load import load


def text_of(tmp_path: Path, body: str) -> str:
    path = tmp_path / "page.html"
    path.write_text(f"<html><head><title>T</title></head><body>{body}</body></html>")
    (doc,) = load([str(path)])
    return doc.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            "<p>The <a href='x'>Eiffel Tower</a> is in <b>Par</b>is.</p>",
            "The Eiffel Tower is in Paris.",
        ),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<p>one\n   line</p>\n\n<p>two</p>", "one line\ntwo"),
        ("<div>a<p>b</p>c</div>d", "a\nb\nc\nd"),
        ("<ul><li>one <i>x</i><li>two</ul>", "one x\ntwo"),
        ("a<script>x()</script><style>p{}</style><!-- c --><noscript>n</noscript>b", "ab"),
        ("<p>a&nbsp;&amp; b</p>", "a & b"),
        ("<pre>\ndef f():\n    return  1\n\n    # end\n</pre>after", None),
        ("<pre>a <b>b</b><br>  <span>c</span></pre>", "a b\n  c"),
        (
            "<table><tr><th>City</th><th>People</th></tr><tr><td>Paris</td><td>2</td></tr></table>",
            "City | People\nParis | 2",
        ),
        ("<table><tr><td><p>menu</p></td><td><p>body</p><p>text</p></td></tr></table>", None),
        ("", ""),
    ],
)
def test_a_page_reads_as_it_is_shown(tmp_path: Path, body: str, text: str | None) -> None:
    shown = {
        "<pre>": "def f():\n    return  1\n\n    # end\nafter",
        "<tabl": "menu\nbody\ntext",
    }
    assert text_of(tmp_path, body) == (shown[body[:5]] if text is None else text)


def test_thousands_of_unclosed_tags_are_read(tmp_path: Path) -> None:
    lines = text_of(tmp_path, "".join(f"<p><font>line {i}" for i in range(3000))).split("\n")
    assert lines == [f"line {i}" for i in range(3000)]


def test_a_page_without_a_tag_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("notes.txt")
    (doc,) = load([str(tmp_path / "a.html")])
    assert doc.text == "notes.txt"
