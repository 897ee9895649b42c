"""One model, several LoRA adapters: each call keeps its own through all passes."""

from textwrap import dedent
from typing import Any

import teola as tl
from graph_opt.facts import Facts
from graph_opt.graph import Graph, Node
from graph_opt.passes.coalesce import coalesce
from graph_opt.passes.share_prefixes import share_prefixes

llm = tl.LLM("fake:")
french = llm.with_adapter("french")
HEAD = "Here is a sentence that all of the calls below have in front of their own words. "


@tl.prompt(llm)
def plain(text: str) -> str:
    return f"Say: {text}"


@tl.prompt(french)
def in_french(text: str) -> str:
    return f"Say: {text}"


@tl.app
def both(text: str) -> list[str]:
    return [plain(text), in_french(text)]


@tl.prompt(llm, max_tokens=1)
def rated(text: str) -> str:
    return f"{HEAD}Rate: {text}"


@tl.prompt(french, max_tokens=2)
def rated_in_french(text: str) -> str:
    return f"{HEAD}Rate: {text}"


@tl.app
def many(texts: list[str], text: str) -> list[Any]:
    inner = tl.map(lambda item: [rated(item), rated_in_french(item)], texts)
    return [inner, rated(text), rated_in_french(text)]


def of_op(graph: Graph, op: str) -> list[Node]:
    inside = (body for node in graph.nodes for body in node.bodies)
    return [n for g in (graph, *inside) for n in g.nodes if n.op == op]


def test_prefill_and_decode_name_the_adapter_and_the_engine_is_one() -> None:
    assert str(both.graph("hi")) == dedent("""\
        graph both {
          %text = input [type="str"]
          %plain.empty = context [engine="llm"]
          %plain.prompt = prefill %plain.empty @user "Say:" @sp %text @assistant [engine="llm"]
          %plain, %plain.context = decode %plain.prompt [engine="llm", max_tokens=256]
          %in_french.empty = context [engine="llm"]
          %in_french.prompt = prefill %in_french.empty @user "Say:" @sp %text @assistant \
[adapter="french", engine="llm"] after %plain
          %in_french, %in_french.context = decode %in_french.prompt [adapter="french", \
engine="llm", max_tokens=256]
          %list = pack %plain %in_french
          return %list
        }""")


def test_no_pass_merges_or_mixes_calls_of_different_adapters() -> None:
    after = many.plan(["a"], "b").after
    adapters = {}
    for graph in (after, *(body for node in after.nodes for body in node.bodies)):
        for node in graph.nodes:
            if node.op in ("prefill", "decode"):
                adapters.update(dict.fromkeys(node.outputs, node.attrs.get("adapter")))
        for node in graph.nodes:
            if node.op in ("prefill", "decode") and node.inputs[0] in adapters:
                assert adapters[node.inputs[0]] == node.attrs.get("adapter"), node
    heads = [node for node in of_op(after, "prefill") if HEAD.strip() in str(node.args)]
    assert sorted(str(node.attrs.get("adapter")) for node in heads) == ["None", "french"]


def test_heads_are_lifted_out_of_a_map_once_for_each_adapter() -> None:
    graph = share_prefixes(many.graph(["a"], "b"))
    lifted = [n for n in graph.nodes if n.op == "prefill" and n.name.startswith("map.")]
    assert [node.attrs.get("adapter") for node in lifted] == [None, "french"]


def test_a_call_in_one_piece_still_names_its_adapter() -> None:
    graph = coalesce(both.graph("hi"), Facts({"llm": frozenset({"stream"})}))
    calls = of_op(graph, "generate")
    assert [node.attrs.get("adapter") for node in calls] == [None, "french"]


def test_the_variable_of_the_model_names_its_engine_whichever_is_called_first() -> None:
    @tl.app
    def french_first(text: str) -> list[str]:
        return [in_french(text), plain(text)]

    assert {node.attrs["engine"] for node in of_op(french_first.graph("hi"), "decode")} == {"llm"}
    assert llm.adapter is None
