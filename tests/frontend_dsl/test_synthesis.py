"""`tl.synthesize`: what each mode expands to, and what it does."""

import re
from collections.abc import Callable, Sequence
from textwrap import dedent
from typing import Any

import pytest

import teola as tl
from frontend_dsl.synthesis import NOTHING, dealt
from graph_opt.graph import Graph
from teola.errors import TraceError

llm = tl.LLM("fake:")

Events = list[Any]


def graph_of(**settings: Any) -> Graph:
    @tl.app
    def app(question: str, docs: list[tl.Doc]) -> str:
        return tl.synthesize(llm, question, docs, instructions="Read.", **settings)

    return app.graph()


def text_of(**settings: Any) -> str:
    """The graph in few words: no engine, no attrs of decodes."""
    text = str(graph_of(build_instructions="Build.", **settings))
    return re.sub(r" \[engine=[^\n]*?\](?= after|$)", "", text, flags=re.MULTILINE)


def test_one_shot_is_one_call_over_all_documents() -> None:
    assert str(graph_of(max_tokens=64, stop="\n")) == dedent("""\
        graph app {
          %question = input [type="str"]
          %docs = input [type="list[Doc]"]
          %join = join %docs [sep="\\n\\n", template="{text}"]
          %read.empty = context [engine="llm"]
          %read.prompt = prefill %read.empty @system "Read." @user %join "\\n\\nQuestion:" @sp \
%question @assistant [engine="llm"]
          %read, %read.context = decode %read.prompt [engine="llm", max_tokens=64, stop=["\\n"]]
          return %read
        }""")


def test_refine_is_a_chain_whose_passages_come_before_the_earlier_answer() -> None:
    assert text_of(mode="refine", k=3) == dedent("""\
        graph app {
          %question = input [type="str"]
          %docs = input [type="list[Doc]"]
          %deal = call %docs 3
          %deal.0 = get %deal [path=[0]]
          %deal.1 = get %deal [path=[1]]
          %deal.2 = get %deal [path=[2]]
          %read.empty = context
          %read.prompt = prefill %read.empty @system "Read." @user %deal.0 "\\n\\nQuestion:" @sp \
%question @assistant after %deal
          %read, %read.context = decode %read.prompt
          %refine.empty = context
          %refine.prompt = prefill %refine.empty @system "Build." @user "New passage:\\n" %deal.1 \
"\\n\\nAnswer so far:" @sp %read "\\n\\nQuestion:" @sp %question @assistant
          %refine, %refine.context = decode %refine.prompt
          %refine.empty_2 = context
          %refine.prompt_2 = prefill %refine.empty_2 @system "Build." @user "New passage:\\n" \
%deal.2 "\\n\\nAnswer so far:" @sp %refine "\\n\\nQuestion:" @sp %question @assistant
          %refine_2, %refine.context_2 = decode %refine.prompt_2
          return %refine_2
        }""")


def test_a_tree_reads_side_by_side_and_merges_level_by_level() -> None:
    assert text_of(mode="tree", k=3) == dedent("""\
        graph app {
          %question = input [type="str"]
          %docs = input [type="list[Doc]"]
          %deal = call %docs 3
          %deal.0 = get %deal [path=[0]]
          %deal.1 = get %deal [path=[1]]
          %deal.2 = get %deal [path=[2]]
          %read.empty = context
          %read.prompt = prefill %read.empty @system "Read." @user %deal.0 "\\n\\nQuestion:" @sp \
%question @assistant after %deal
          %read, %read.context = decode %read.prompt
          %read.empty_2 = context
          %read.prompt_2 = prefill %read.empty_2 @system "Read." @user %deal.1 "\\n\\nQuestion:" \
@sp %question @assistant after %read
          %read_2, %read.context_2 = decode %read.prompt_2
          %read.empty_3 = context
          %read.prompt_3 = prefill %read.empty_3 @system "Read." @user %deal.2 "\\n\\nQuestion:" \
@sp %question @assistant after %read_2
          %read_3, %read.context_3 = decode %read.prompt_3
          %merge.empty = context
          %merge.prompt = prefill %merge.empty @system "Build." @user %read "\\n\\n" \
%read_2 "\\n\\nQuestion:" @sp %question @assistant after %read_3
          %merge, %merge.context = decode %merge.prompt
          %merge.empty_2 = context
          %merge.prompt_2 = prefill %merge.empty_2 @system "Build." @user %merge "\\n\\n" \
%read_3 "\\n\\nQuestion:" @sp %question @assistant
          %merge_2, %merge.context_2 = decode %merge.prompt_2
          return %merge_2
        }""")


def test_map_reduce_maps_over_any_number_and_reduces_once() -> None:
    assert text_of(mode="map_reduce") == dedent("""\
        graph app {
          %question = input [type="str"]
          %docs = input [type="list[Doc]"]
          %map = map %docs %question [order="sequential"] {
            %doc = input [type="Doc"]
            %question = input [type="str"]
            %read.empty = context
            %read.prompt = prefill %read.empty @system "Read." @user %doc "\\n\\nQuestion:" @sp \
%question @assistant
            %read, %read.context = decode %read.prompt
            return %read
          }
          %join = join %map [sep="\\n\\n", template="{text}"]
          %merge.empty = context
          %merge.prompt = prefill %merge.empty @system "Build." @user %join "\\n\\nQuestion:" @sp \
%question @assistant after %map
          %merge, %merge.context = decode %merge.prompt
          return %merge
        }""")


def test_calls_of_the_plain_graph_are_named_after_the_component() -> None:
    origin = graph_of().node("read.prompt").origin
    assert origin is not None
    assert origin.call == "synthesize/read"
    assert origin.file.endswith("test_synthesis.py")


def test_only_the_last_call_has_the_answers_own_max_tokens() -> None:
    for mode in ("refine", "tree"):
        graph = graph_of(mode=mode, k=3, part_tokens=8, max_tokens=64, temperature=0.5, seed=1)
        decodes = [node.attrs for node in graph.nodes if node.op == "decode"]
        assert [attrs["max_tokens"] for attrs in decodes[:-1]] == [8] * (len(decodes) - 1)
        assert decodes[-1]["max_tokens"] == 64
        assert all(attrs["temperature"] == 0.5 for attrs in decodes)


# What runs

REPLIES = {
    r"so far: ": "better",
    r"MERGE": "merged",
    r"user\|>alpha": "from alpha",
    r"user\|>beta": "from beta",
    r"user\|>gamma": "from gamma",
    re.escape(NOTHING): "nothing",
}
scripted = tl.LLM("fake:", name="scripted", replies=REPLIES)


def docs_of(words: Sequence[str]) -> list[tl.Doc]:
    return [tl.Doc(word, id=word) for word in words]


def run(app: "tl.App[..., str]", words: Sequence[str], optimize: bool = True) -> tuple[str, Events]:
    """The answer, and the calls that were made, in order of their ends."""
    events: Events = []
    answer = app.using(listener=events.append, optimize=optimize)("why?", docs_of(words))
    done = [e.node for e in events if e.kind == "end" and e.op == "decode"]
    return answer, [re.sub(r"_\d+$", "", node) for node in done]


def app_of(mode: Any, **settings: Any) -> "tl.App[..., str]":
    @tl.app
    def app(question: str, docs: list[tl.Doc]) -> str:
        words = {"build_instructions": "MERGE", **settings}
        return tl.synthesize(scripted, question, docs, mode=mode, **words)

    return app


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize(
    ("mode", "settings", "answer", "calls"),
    [
        ("one_shot", {}, "from alpha", ["read"]),
        ("refine", {"k": 3}, "better", ["read", "refine", "refine"]),
        ("tree", {"k": 3}, "merged", ["read", "read", "read", "merge", "merge"]),
        ("tree", {"k": 3, "fanout": 3}, "merged", ["read", "read", "read", "merge"]),
        ("map_reduce", {}, "merged", ["map[0].read", "map[1].read", "map[2].read", "merge"]),
    ],
)
def test_each_mode_makes_the_right_calls_in_the_right_order(
    mode: str, settings: dict[str, Any], answer: str, calls: list[str], optimize: bool
) -> None:
    assert run(app_of(mode, **settings), ["alpha", "beta", "gamma"], optimize) == (answer, calls)


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("mode", ["one_shot", "refine", "tree", "map_reduce"])
@pytest.mark.parametrize("num_docs", [0, 1, 2, 7])
def test_any_number_of_documents_is_answered_from(mode: str, num_docs: int, optimize: bool) -> None:
    settings = {"k": 3} if mode in ("refine", "tree") else {}
    words = ["alpha", "beta", "gamma", "alpha", "beta", "gamma", "alpha"][:num_docs]
    answer, calls = run(app_of(mode, **settings), words, optimize)
    assert answer
    expected = {"one_shot": 1, "refine": 3, "tree": 5, "map_reduce": num_docs + 1}
    assert len(calls) == expected[mode]


def test_a_tree_over_four_is_two_levels_of_pairs() -> None:
    _, calls = run(app_of("tree", k=4), ["alpha", "beta", "gamma", "alpha"])
    assert calls == ["read"] * 4 + ["merge"] * 3


def test_k_of_one_is_one_call_in_either_mode() -> None:
    for mode in ("refine", "tree"):
        assert run(app_of(mode, k=1), ["alpha", "beta"]) == ("from alpha", ["read"])


def test_a_real_list_says_itself_how_many_calls_there_are() -> None:
    @tl.app
    def app(question: str) -> str:
        return tl.synthesize(scripted, question, docs_of(["alpha", "beta"]), mode="refine")

    ops = [node.op for node in app.graph().nodes]
    assert ops.count("decode") == 2
    assert "call" not in ops
    assert app("why?") == "better"


def test_a_real_list_may_hold_values_of_the_app() -> None:
    @tl.app
    def app(question: str) -> str:
        first = tl.synthesize(scripted, question, ["alpha"])
        return tl.synthesize(llm, question, [first, "and this"], mode="tree")

    merged = app.graph().node("merge.prompt")
    assert [str(arg) for arg in merged.inputs][1:3] == ["read_2", "read_3"]
    assert app("why?").startswith("reply ")


def test_no_question_asks_for_a_summary() -> None:
    @tl.app
    def app(docs: list[tl.Doc]) -> str:
        return tl.synthesize(scripted, None, docs, instructions="SUM", max_tokens=9)

    assert '@system "SUM" @user %join "\\n\\nWhat is this text about?" @assistant' in str(
        app.graph()
    )


def test_an_async_app_synthesizes_over_real_documents_and_compiles_once() -> None:
    @tl.app
    async def app(question: str, docs: list[tl.Doc]) -> str:
        found = await tl.value(keep(docs))
        return tl.synthesize(scripted, question, found, mode="refine")

    run: Any = app  # called, not awaited
    assert run("why?", docs_of(["alpha", "beta"])) == "better"
    assert run("why?", docs_of(["gamma", "alpha"])) == "better"
    refines = [text for text, *_ in app._segments if "refine" in text]
    assert len(refines) == 1


@tl.tool(pure=True)
def keep(docs: list[tl.Doc]) -> list[tl.Doc]:
    return docs


@pytest.mark.parametrize(
    ("items", "k", "groups"),
    [
        ([1, 2, 3], 3, [[1], [2], [3]]),
        ([1, 2, 3, 4, 5], 3, [[1, 2], [3, 4], [5]]),
        ([1, 2, 3, 4], 3, [[1, 2], [3], [4]]),
        ([1, 2], 5, [[1], [2], [1], [2], [1]]),
        ([], 2, [[], []]),
    ],
)
def test_documents_are_dealt_in_order_and_none_is_left_out(
    items: list[int], k: int, groups: list[list[int]]
) -> None:
    assert dealt(items, k) == groups


# What is refused

MISUSES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "no k": (lambda q, d: tl.synthesize(llm, q, d, mode="refine"), "say k="),
    "k of 0": (lambda q, d: tl.synthesize(llm, q, d, mode="tree", k=0), "needs k >= 1"),
    "k is late": (lambda q, d: tl.synthesize(llm, q, d, mode="tree", k=q), "a number known now"),
    "k for all": (lambda q, d: tl.synthesize(llm, q, d, k=3), "leave k out"),
    "fanout": (lambda q, d: tl.synthesize(llm, q, d, mode="tree", k=2, fanout=1), "fanout >= 2"),
    "mode": (lambda q, d: tl.synthesize(llm, q, d, mode="best"), "unknown mode 'best'"),  # type: ignore[arg-type]
    "late text": (lambda q, d: tl.synthesize(llm, q, d, instructions=q), "constant text"),
}


@pytest.mark.parametrize("what", MISUSES)
def test_misuse_is_told_with_the_users_line(what: str) -> None:
    call, message = MISUSES[what]

    @tl.app
    def app(question: str, docs: list[tl.Doc]) -> str:
        return str(call(question, docs))

    with pytest.raises(TraceError, match=message) as caught:
        app.graph()
    assert "test_synthesis.py" in caught.value.file


def test_something_else_than_an_llm_or_a_list_is_a_type_error() -> None:
    @tl.app
    def no_llm(question: str) -> str:
        return tl.synthesize("local:x", question, [])  # type: ignore[arg-type]

    @tl.app
    def no_list(question: str) -> str:
        return tl.synthesize(llm, question, "one text")

    with pytest.raises(TypeError, match="needs an LLM, not 'local:x': write tl.LLM"):
        no_llm.graph()
    with pytest.raises(TypeError, match=r"write \[text\]"):
        no_list.graph()


def test_outside_of_an_app_it_says_so() -> None:
    with pytest.raises(TraceError, match="tl.synthesize is called outside of an app"):
        tl.synthesize(llm, "why?", [])
