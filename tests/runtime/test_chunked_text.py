"""A joined text in parts: the same text, and an item is the same chunk wherever it stands."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Chunk
from backends.documents import Doc
from graph_opt.graph import Node, Ref
from runtime.chunked_text import ChunkedText
from runtime.ops.join import JOIN

A, B, C = (letter * 80 for letter in "abc")


def joined(items: Sequence[object], template: str = "{text}", sep: str = "\n", **attrs: object):
    node = Node(("j",), "join", (Ref("x"),), {"template": template, "sep": sep, **attrs})
    return JOIN.run(node, [items], {})


def parts(items: Sequence[object], template: str = "{text}", sep: str = "\n"):
    text = joined(items, template, sep, chunks=True)
    assert isinstance(text, ChunkedText)
    assert text == joined(items, template, sep)
    return [("chunk" if isinstance(part, Chunk) else "text", str(part)) for part in text.parts]


def test_separators_are_text_between_the_chunks():
    assert parts([A, B]) == [("chunk", A), ("text", "\n"), ("chunk", B)]


def test_a_number_is_text_so_that_a_chunk_is_the_same_at_each_place():
    found = parts([A, B], "[{i}] {text}")
    assert found == [
        ("text", "[1"),
        ("chunk", f"] {A}"),
        ("text", "\n[2"),
        ("chunk", f"] {B}"),
    ]


def test_a_score_is_text_and_other_fields_of_a_document_are_its_chunk():
    doc = Doc(id="1", text=A, metadata={"title": "T"}, score=0.5)
    found = parts([doc], "{title}: {text} ({score})")
    assert found == [("chunk", f"T: {A} ("), ("text", "0.5)")]


def test_short_items_are_text_but_for_the_first():
    found = parts(["one", A, "two", B])
    assert found == [
        ("chunk", "one"),
        ("text", "\n"),
        ("chunk", A),
        ("text", "\ntwo\n"),
        ("chunk", B),
    ]


def test_nothing_joined_has_no_parts():
    assert parts([]) == []


def test_a_space_before_it_is_no_part_of_a_chunk() -> None:
    assert joined([A, B], chunks=True).behind(" ") == (" ", A, "\n", B)
    assert joined([A, B], "[{i}] {text}", chunks=True).behind(" ")[0] == " [1"
    assert joined([], chunks=True).behind(" ") == ()


def test_a_field_that_an_item_lacks_is_named_with_the_whole_template():
    with pytest.raises(
        LookupError, match=r"template '\[\{i\}\] \{page\}' names \{page\}.* item 1 "
    ):
        joined([A], "[{i}] {page}", chunks=True)


_PIECES = st.sampled_from(
    ["{i}", "{text}", "{text!r}", "{i:03}", "{score}", "{{", "}}", "{title:>9}", " ", "w: ", "\n"]
)


@given(
    st.lists(_PIECES, max_size=6).map("".join),
    st.text(max_size=3),
    st.lists(st.text(max_size=90), max_size=4),
)
def test_the_text_is_what_it_is_without_chunks(template, sep, texts):
    docs = [Doc(id=str(i), text=text, metadata={"title": "T"}) for i, text in enumerate(texts)]
    whole = joined(docs, template, sep, chunks=True)
    assert whole == joined(docs, template, sep)
    assert "".join(whole.parts) == whole


@given(st.permutations([A, B, C]), st.permutations([A, B, C]))
def test_the_order_of_items_changes_no_chunk(one, other):
    def chunks(items):
        found = joined(items, "[{i}] {text}", chunks=True).parts
        return {part for part in found if isinstance(part, Chunk)}

    assert chunks(one) == chunks(other)
