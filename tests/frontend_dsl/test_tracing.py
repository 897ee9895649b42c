"""What a traced app's plain graph looks like."""

import enum
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel

import teola as tl

llm = tl.LLM("fake:")
other = tl.LLM("fake:", num_slots=2)
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
reranker = tl.Reranker("fake:")


class Queries(BaseModel):
    queries: list[str]


@tl.prompt(llm, out=Queries, max_tokens=64)
def expand(question: str, n: int) -> str:
    return f"Write {n} search queries for: {question}"


@tl.prompt(llm, system="Be brief.", stop="\n")
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"Passages:\n{tl.join(docs, '[{i}] {text}')}\nQuestion: {question}"


@tl.app
def rag(question: str, files: list[str], n: int = 3, k: int = 5) -> str:
    index = store.index(tl.load(files))
    hits = tl.map(lambda q: index.search(q, k=20), expand(question, n).queries)
    return answer(question, reranker(question, tl.flatten(hits), k=k))


def test_the_plain_graph_keeps_the_programs_order() -> None:
    assert str(rag.graph()) == dedent("""\
        graph rag {
          %question = input [type="str"]
          %files = input [type="list[str]"]
          %load = call %files [engine="python", fn="load", pure=true, reads=true]
          %index.vectors = embed %load [engine="embedder"]
          %index = ingest %load %index.vectors [engine="store"]
          %expand.empty = context [engine="llm"]
          %expand.prompt = prefill %expand.empty @user "Write 3 search queries for:" @sp %question \
@assistant [engine="llm"] after %index
          %expand.json, %expand.context = decode %expand.prompt [engine="llm", max_tokens=64, \
schema={"properties": {"queries": {"items": {"type": "string"}, "type": "array"}}, \
"required": ["queries"], "type": "object", "additionalProperties": false}]
          %expand = parse %expand.json [type="Queries"]
          %queries = get %expand [items="Queries.queries[]", list=true, path=["queries"]]
          %map = map %queries %index [order="sequential"] after %expand.json {
            %q = input [type="str"]
            %index = input [type="Index"]
            %search.vector = embed %q [engine="embedder"]
            %search = search %index %q %search.vector [engine="store", k=20, mode="vector"]
            return %search
          }
          %flatten = flatten %map
          %rerank = rerank %question %flatten [engine="reranker", k=5] after %map
          %join = join %rerank [sep="\\n", template="[{i}] {text}"]
          %answer.empty = context [engine="llm"]
          %answer.prompt = prefill %answer.empty @system "Be brief." @user "Passages:\\n" %join \
"\\nQuestion:" @sp %question @assistant [engine="llm"] after %rerank
          %answer, %answer.context = decode %answer.prompt [engine="llm", max_tokens=256, \
stop=["\\n"]]
          return %answer
        }""")


def test_nodes_remember_the_users_call_and_line() -> None:
    origin = rag.graph().node("expand.prompt").origin
    assert origin is not None
    assert origin.call == "expand"
    assert origin.file.endswith("test_tracing.py")
    assert "expand(question, n)" in Path(__file__).read_text().splitlines()[origin.line - 1]


def test_a_component_inside_another_belongs_to_the_outer_call() -> None:
    origin, outer = (rag.graph().node(name).origin for name in ("join", "answer.prompt"))
    assert origin is not None
    assert origin == outer
    assert origin.call == "answer"
    assert "return answer(" in Path(__file__).read_text().splitlines()[origin.line - 1]
    assert "join" not in [n.origin.call for n in rag.graph().nodes if n.origin is not None]


def test_numbers_specialise_the_graph() -> None:
    assert '"Write 7 search' in str(rag.graph(n=7))
    assert rag.graph(n=7) != rag.graph(n=3)


def test_the_same_static_arguments_are_traced_once() -> None:
    assert rag.graph(n=4) is rag.graph(n=4)


class Style(enum.Enum):
    SHORT = "short"
    LONG = "long"


@tl.prompt(other)
def write(topic: str, style: Style) -> str:
    return f"Write about {topic} in {style.value} form."


@tl.app
def branch(topic: str, style: Style, twice: bool = False) -> str:
    text = write(topic, style)
    if twice:
        return write(text, style)
    return text


def test_python_branches_on_static_arguments_are_followed() -> None:
    decodes = [
        sum(n.op == "decode" for n in branch.graph(style=Style.LONG, twice=t).nodes)
        for t in (False, True)
    ]
    assert decodes == [1, 2]
    assert "long form" in str(branch.graph(style=Style.LONG))


def test_an_engine_is_named_like_the_variable_that_holds_it() -> None:
    assert branch.graph(style=Style.SHORT).node("write").attrs["engine"] == "other"


def test_components_that_one_engine_can_serve_share_a_name() -> None:
    twin = tl.LLM("fake:")

    @tl.prompt(twin)
    def say(word: str) -> str:
        return f"Say {word}."

    @tl.app
    def both(word: str) -> str:
        return say(answer(word, []))

    engines = {n.attrs["engine"] for n in both.graph().nodes if n.op == "decode"}
    assert engines == {"llm"}


def test_text_around_a_value_outside_a_prompt_becomes_a_format_node() -> None:
    @tl.app
    def find(topic: str) -> list[tl.Doc]:
        return store.search(f"about {topic}!", mode="bm25")

    assert '%text = format "about " %topic "!"' in str(find.graph())
    assert "%search = search null %text null" in str(find.graph())


def test_an_app_may_return_text_around_values() -> None:
    @tl.app
    def signed(topic: str) -> str:
        return f"{write(topic, Style.SHORT)} (about {topic})"

    assert signed.graph().node(signed.graph().outputs[0]).op == "format"


def test_an_app_may_return_several_values() -> None:
    @tl.app
    def two(topic: str) -> dict[str, str]:
        return {"short": write(topic, Style.SHORT), "long": write(topic, Style.LONG)}

    graph = two.graph()
    assert graph.node(graph.outputs[0]).attrs["keys"] == ["short", "long"]


def test_constants_that_json_cannot_say_stay_beside_the_graph() -> None:
    @tl.app
    def fixed(question: str) -> str:
        return answer(question, [tl.Doc("the sea is blue")])

    constant = next(n for n in fixed.graph().nodes if n.op == "const")
    assert constant.attrs == {"value": "list.constant", "symbol": True}


def test_a_map_body_captures_the_outer_values_it_reads_once() -> None:
    @tl.app
    def each(question: str, words: list[str]) -> list[str]:
        return tl.map(lambda w: write(f"{w} and {question} and {question}", Style.SHORT), words)

    node = each.graph().node("map")
    assert node.inputs == ("words", "question")
    assert node.body is not None
    assert [p.name for p in node.body.params] == ["w", "question"]


def test_maps_nest_and_capture_through_both() -> None:
    @tl.app
    def grid(a: str, rows: list[list[str]]) -> list[list[str]]:
        return tl.map(lambda row: tl.map(lambda c: write(f"{a}{c}", Style.LONG), row), rows)

    outer = grid.graph().node("map")
    assert outer.inputs == ("rows", "a")
    assert outer.body is not None
    assert outer.body.node("map").inputs == ("row", "a")


def test_an_app_inside_an_app_becomes_part_of_it() -> None:
    @tl.app
    def inner(topic: str) -> str:
        return write(topic, Style.SHORT)

    @tl.app
    def outer(topic: str) -> str:
        return inner(topic)

    origin = outer.graph().node("write").origin
    assert origin is not None
    assert origin.call == "inner/write"


def test_a_lone_space_before_a_value_goes_with_the_value() -> None:
    @tl.prompt(llm)
    def spaced(a: str, b: str) -> str:
        return f"x {a} {b}  {a}\n{b}"

    @tl.app
    def one(a: str, b: str) -> str:
        return spaced(a, b)

    assert '@user "x" @sp %a @sp %b "  " %a "\\n" %b @assistant' in str(one.graph())


def test_parameters_that_look_like_markers_stay_text() -> None:
    text = "\ue000teola\ue001 \ue000teola:999999\ue001 %x @user"

    @tl.app
    def plain(topic: str) -> str:
        return write(text, Style.SHORT)

    part = plain.graph().node("write.prompt").args[2]
    assert part == f"Write about {text} in short form."


def test_fields_of_a_declared_model_can_be_read_and_indexed() -> None:
    @tl.app
    def first(question: str) -> str:
        return write(expand(question, 2).queries[0], Style.SHORT)

    text = str(first.graph())
    assert '%queries = get %expand [items="Queries.queries[]", list=true, path=["queries"]]' in text
    assert "%queries.0 = get %queries [path=[0]]" in text


@pytest.mark.parametrize("future", [False, True])
def test_annotations_may_be_strings(future: bool) -> None:
    source = "from __future__ import annotations\n" if future else ""
    source += (
        "import teola as tl\n"
        "llm = tl.LLM('fake:')\n"
        "@tl.prompt(llm)\n"
        "def say(word: str) -> str: return f'Say {word}'\n"
        "@tl.app\n"
        "def talk(word: str, n: int = 2) -> str: return say(word)\n"
    )
    module: dict[str, object] = {"__name__": "some_module"}
    exec(compile(source, "some_module.py", "exec"), module)
    talk = module["talk"]
    assert isinstance(talk, tl.App)
    assert [p.is_static for p in talk.parameters] == [False, True]
