"""Nodes that encode chunks before their prompt comes."""

from typing import Any

import pytest

from graph_opt.encoding import encoding
from graph_opt.graph import CHUNKS, Node, Ref


@pytest.mark.parametrize(
    ("fusion", "kept"),
    [
        ({}, {}),
        ({"fusion": "lego(4)"}, {}),
        ({"fusion": "lego(4)+first(8)"}, {}),
        ({"fusion": "lego(4)+alone"}, {"fusion": "lego(4)+alone"}),
        ({"fusion": "reuse + context(64)"}, {"fusion": "reuse + context(64)"}),
        ({"fusion": "query(0.1) + alone + first(2)"}, {"fusion": "query(0.1) + alone + first(2)"}),
    ],
)
def test_a_plan_is_named_where_it_says_how_chunks_are_encoded(fusion: Any, kept: Any) -> None:
    attrs = {"engine": "m", **fusion}
    prefill = Node(("p",), "prefill", (Ref("c"), "head", CHUNKS, Ref("t")), attrs=attrs)
    node = encoding(prefill, prefill.args[:2], "ahead", "e")
    assert node.op == "encode"
    assert node.args == (Ref("c"), "head", CHUNKS, Ref("ahead"))
    assert node.attrs == {"engine": "m", **kept}
