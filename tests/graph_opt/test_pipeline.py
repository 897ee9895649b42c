import subprocess
import sys
from dataclasses import replace

import pytest
from graph_text import graph, wrap

from graph_opt.errors import GraphError
from graph_opt.facts import Facts
from graph_opt.graph import Graph
from graph_opt.passes.cull import cull
from graph_opt.passes.prune_dependencies import prune_dependencies
from graph_opt.pipeline import PASSES, PassReport, explain_passes, optimize

LONG = "You answer questions from the passages you are given, and from nothing else."
PLAIN = f"""
    %files = input [type="list[str]"]
    %question = input [type="str"]
    %docs = call %files [fn="load"]
    %vectors = embed %docs [engine="e"] after %docs
    %index = ingest %docs %vectors [engine="s"] after %vectors
    %e0 = context [engine="m"] after %index
    %e1 = prefill %e0 @system "{LONG}" @user "Rewrite:" %question [engine="m"] after %index
    %rewritten, %e2 = decode %e1 [engine="m"]
    %hits = search %index %rewritten [engine="s"] after %rewritten
    %a0 = context [engine="m"] after %hits
    %a1 = prefill %a0 @system "{LONG}" @user %question %hits [engine="m"] after %hits
    %answer, %a2 = decode %a1 [engine="m"]
    return %answer
"""
OPTIMIZED = f"""
    %files = input [type="list[str]"]
    %question = input [type="str"]
    %docs = call %files [fn="load"]
    %vectors = embed %docs [engine="e"]
    %index = ingest %docs %vectors [engine="s"]
    %e0 = context [engine="m"]
    %e1.0 = prefill %e0 @system "{LONG}" @user [engine="m"]
    %rewritten, %e2 = decode %e1.0 "Rewrite:" %question [engine="m"]
    %hits = search %index %rewritten [engine="s"]
    %a1.1 = prefill %e1.0 %question [engine="m"]
    %answer, %a2 = decode %a1.1 %hits [engine="m"]
    return %answer
"""


def _broken(_: Graph) -> Graph:
    return graph("return %x")


def test_a_plain_rag_runs_in_parallel_shares_its_prefix_and_prefills_early() -> None:
    assert str(optimize(graph(PLAIN))) == wrap(OPTIMIZED)


def test_each_pass_is_reported() -> None:
    reports = explain_passes(graph(PLAIN))
    assert [report.name for report in reports] == [run.__name__ for run in PASSES]
    assert reports[0].before == graph(PLAIN)
    assert reports[-1].after == graph(OPTIMIZED)
    assert [report.summary for report in reports] == [
        "order_documents: nothing to do",
        "coalesce: nothing to do",
        "share_prefixes: nothing to do",
        "cull: nothing to do",
        "prune_dependencies: 7 changed (%vectors, %index, %e0, %e1, ...)",
        "deduplicate: 1 removed (%a0), 1 changed (%a1)",
        "fuse_chunks: nothing to do",
        "encode_ahead: nothing to do",
        "split_prefill: 3 added (%e1.0, %a1.0, %a1.1), 2 changed (%e1, %a1)",
        "deduplicate: 1 removed (%a1.0), 1 changed (%a1.1)",
        "warm_up: nothing to do",
        "prune_dependencies: nothing to do",
        "stream_decode: nothing to do",
        "stream_stages: nothing to do",
        "fuse_decode: 2 removed (%e1, %a1), 2 changed (%rewritten, %answer)",
        "prefill_ahead: nothing to do",
    ]


def test_a_failing_pass_is_named_with_those_before_it() -> None:
    trace: list[PassReport] = []
    message = (
        r"pass _broken failed \(passes before it: cull, prune_dependencies\): "
        r"the graph returns %x, which no node makes"
    )
    with pytest.raises(GraphError, match=message):
        optimize(graph(PLAIN), (cull, prune_dependencies, _broken, cull), trace=trace)
    assert [report.name for report in trace] == ["cull", "prune_dependencies"]


def test_a_pass_with_a_bug_is_named_too() -> None:
    def buggy(_: Graph) -> Graph:
        raise KeyError("k")

    with pytest.raises(GraphError, match=r"pass buggy failed \(passes before it: none\): 'k'"):
        optimize(graph(PLAIN), (buggy,))


def test_a_users_pass_runs_in_the_pipeline_with_or_without_facts() -> None:
    seen: list[Facts] = []

    def plain(before: Graph) -> Graph:
        return replace(before, outputs=())

    def knowing(before: Graph, facts: Facts) -> Graph:
        seen.append(facts)
        return before

    facts = Facts({"m": frozenset()})
    reports = explain_passes(graph(PLAIN), (*PASSES, plain, knowing), facts)
    assert [report.name for report in reports[-2:]] == ["plain", "knowing"]
    assert reports[-1].after.outputs == ()
    assert seen == [facts]


def test_a_pass_that_returns_no_graph_is_named() -> None:
    def forgetful(_: Graph) -> None:
        return None

    with pytest.raises(GraphError, match="pass forgetful failed .* gave None; a pass returns a"):
        optimize(graph(PLAIN), (cull, forgetful))  # type: ignore[arg-type]


def test_no_passes_change_nothing_and_the_name_is_kept() -> None:
    named = replace(graph(PLAIN), name="rag")
    assert optimize(named, ()) is named
    assert optimize(named).name == "rag"


def test_importing_the_pipeline_imports_nothing_heavy() -> None:
    code = (
        "import sys, graph_opt.pipeline, graph_opt.text, graph_opt.draw\n"
        "print(sorted({'networkx', 'numpy', 'torch', 'pydantic'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
