"""How large values are expected to be: the graph says more than one would think."""

import pytest

from graph_opt.text import parse
from runtime.cost.graph_sizes import sizes_of
from runtime.cost.sizes import CHUNK_TOKENS, DECODE_TOKENS, DOCUMENT_TOKENS, LIST_ITEMS

RETRIEVAL = """
graph g {
  %files = input [type="list[str]"]
  %load = call %files [engine="python", fn="load", pure=true]
  %split = call %load 100 20 null [engine="python", fn="split", kwargs=["chunk_tokens", "overlap", "tokenizer"], pure=true]
  %v = embed %split [engine="e"]
  %index = ingest %split %v [engine="s"]
  %q = embed "what" [engine="e"]
  %found = search %index "what" %q [engine="s", k=6]
  %best = rerank "what" %found [engine="r", k=2]
  %text = join %best [sep="", template=""]
  return %text
}
"""  # noqa: E501


def test_chunks_are_as_many_as_the_documents_give() -> None:
    split = sizes_of(parse(RETRIEVAL))["split"]

    assert split.num_items == LIST_ITEMS * DOCUMENT_TOKENS / 80
    assert split.item is not None
    assert split.item.tokens == 100


def test_a_search_gives_k_of_what_was_stored_and_a_rerank_its_own_k() -> None:
    sizes = sizes_of(parse(RETRIEVAL))

    assert (sizes["found"].num_items, sizes["best"].num_items) == (6, 2)
    assert sizes["text"].total == 200


DECODED = """
graph g {
  %c0 = context [engine="m"]
  %c1 = prefill %c0 "sixteen letters!" [engine="m"]
  %json, %c2 = decode %c1 [engine="m", max_tokens=30, schema={"properties": {"qs": {"items": {"type": "string"}, "maxItems": 3, "minItems": 3, "type": "array"}}, "type": "object"}]
  %value = parse %json [type="Queries"]
  %list = get %value [path=["qs"]]
  %m = map %list {
    %q = input [type="str"]
    %found = search null %q null [engine="s", k=5, mode="bm25"]
    return %found
  }
  %flat = flatten %m
  return %flat
}
"""  # noqa: E501


def test_a_decode_is_as_long_as_it_may_and_is_typical() -> None:
    sizes = sizes_of(parse(DECODED))

    assert sizes["json"].total == 30
    assert sizes["c2"].total == 34
    free = parse(DECODED.replace("max_tokens=30, ", ""))
    assert sizes_of(free)["json"].total == DECODE_TOKENS


def test_a_schema_says_how_many_items_a_list_has_and_a_map_runs_for_each() -> None:
    sizes = sizes_of(parse(DECODED))

    assert sizes["list"].num_items == 3
    assert sizes["q"].total == 10
    assert sizes["flat"].num_items == 15
    assert sizes["flat"].total == 15 * CHUNK_TOKENS


def test_an_unbounded_list_has_a_default() -> None:
    free = parse(DECODED.replace('"maxItems": 3, "minItems": 3, ', ""))

    assert sizes_of(free)["list"].num_items == LIST_ITEMS


def test_of_the_branches_of_a_condition_the_larger_counts() -> None:
    sizes = sizes_of(
        parse("""
        graph g {
          %yes = input [type="bool"]
          %x = input [type="str"]
          %c = cond %yes %x {
            %x = input [type="str"]
            return %x
          } else {
            %x = input [type="str"]
            %long = format %x "0123456789012345678901234567890123456789" []
            return %long
          }
          return %c
        }
        """)
    )

    assert sizes["c"].total == pytest.approx(26)
