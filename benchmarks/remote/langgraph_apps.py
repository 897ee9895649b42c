"""The sample apps as LangGraph programs: a node for each step, branches and `Send` where steps are
independent. Nodes call the same openai client as the asyncio programs."""

import asyncio
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from backends.documents import Doc, Index
from benchmarks.remote import prompts
from benchmarks.remote.clients import Clients
from benchmarks.remote.prompts import SYSTEMS
from frontend_dsl.contextual import _in_context as in_context
from frontend_dsl.contextual import surroundings
from runtime.unique_items import unique_items
from samples import search_agent

Runnable = Any  # a compiled graph: its class is generic in ways that differ between releases


class NaiveRAG(TypedDict, total=False):
    question: str
    files: Sequence[str]
    index: Index
    vector: Any
    docs: list[Doc]
    doc: Doc
    number: int
    answers: Annotated[list[tuple[int, str]], operator.add]
    answer: str


def naive_rag(clients: Clients) -> Runnable:
    async def make_index(state: NaiveRAG) -> NaiveRAG:
        return {"index": await clients.index(await clients.passages(state["files"], 256, 30))}

    async def embed(state: NaiveRAG) -> NaiveRAG:
        return {"vector": (await clients.embed([state["question"]]))[0]}

    async def search(state: NaiveRAG) -> NaiveRAG:
        question, vector = state["question"], state["vector"]
        found = await clients.search(state["index"], question, vector, k=3, mode="vector")
        return {"docs": found}

    def passages(state: NaiveRAG) -> list[Send]:
        found, question = enumerate(state["docs"]), state["question"]
        return [Send("read", {"question": question, "doc": d, "number": i}) for i, d in found]

    async def read(state: NaiveRAG) -> NaiveRAG:
        prompt = prompts.read(state["question"], [state["doc"]])
        text = await clients.write(SYSTEMS["read"], prompt, max_tokens=48)
        return {"answers": [(state["number"], text)]}

    async def merge(state: NaiveRAG) -> NaiveRAG:
        texts = [text for _, text in sorted(state["answers"])]
        prompt = prompts.merge(state["question"], texts)
        return {"answer": await clients.write(SYSTEMS["merge"], prompt, max_tokens=48)}

    graph = StateGraph(NaiveRAG)
    _add(graph, make_index, embed, search, read, merge)
    graph.add_edge(START, "make_index")
    graph.add_edge(START, "embed")
    graph.add_edge(["make_index", "embed"], "search")
    graph.add_conditional_edges("search", passages, ["read"])
    graph.add_edge("read", "merge")
    graph.add_edge("merge", END)
    return graph.compile()


class AdvancedRAG(TypedDict, total=False):
    question: str
    files: Sequence[str]
    index: Index
    queries: list[str]
    query: str
    place: int
    found: Annotated[list[tuple[int, list[Doc]]], operator.add]
    best: list[Doc]
    num_read: int
    answer: str


def advanced_rag(clients: Clients) -> Runnable:
    async def make_index(state: AdvancedRAG) -> AdvancedRAG:
        return {"index": await clients.index(await clients.passages(state["files"], 256, 30))}

    async def expand(state: AdvancedRAG) -> AdvancedRAG:
        prompt = prompts.expand(state["question"])
        text = await clients.write(None, prompt, prompts.QUERIES, max_tokens=128)
        return {"queries": list(json.loads(text)["queries"])}

    async def join(state: AdvancedRAG) -> AdvancedRAG:  # noqa: ARG001
        return {}

    def searches(state: AdvancedRAG) -> list[Send]:
        found, index = enumerate(state["queries"]), state["index"]
        return [Send("search", {"index": index, "query": q, "place": i}) for i, q in found]

    async def search(state: AdvancedRAG) -> AdvancedRAG:
        (vector,) = await clients.embed([state["query"]])
        docs = await clients.search(state["index"], state["query"], vector, k=16, mode="vector")
        return {"found": [(state["place"], docs)]}

    async def rerank(state: AdvancedRAG) -> AdvancedRAG:
        lists = sorted(state["found"], key=lambda pair: pair[0])
        docs = unique_items([doc for _, found in lists for doc in found])
        return {"best": await clients.rerank(state["question"], docs, 3)}

    async def read(state: AdvancedRAG) -> AdvancedRAG:
        prompt = prompts.read(state["question"], state["best"][:1])
        text = await clients.write(SYSTEMS["read"], prompt, max_tokens=48)
        return {"answer": text, "num_read": 1}

    async def improve(state: AdvancedRAG) -> AdvancedRAG:
        number = state["num_read"]
        prompt = prompts.improve(state["question"], state["best"][number], state["answer"])
        text = await clients.write(SYSTEMS["improve"], prompt, max_tokens=48)
        return {"answer": text, "num_read": number + 1}

    def next_step(state: AdvancedRAG) -> str:
        return "improve" if state["num_read"] < len(state["best"]) else END

    graph = StateGraph(AdvancedRAG)
    _add(graph, make_index, expand, join, search, rerank, read, improve)
    graph.add_edge(START, "make_index")
    graph.add_edge(START, "expand")
    graph.add_edge(["make_index", "expand"], "join")
    graph.add_conditional_edges("join", searches, ["search"])
    graph.add_edge("search", "rerank")
    graph.add_edge("rerank", "read")
    graph.add_conditional_edges("read", next_step, ["improve", END])
    graph.add_conditional_edges("improve", next_step, ["improve", END])
    return graph.compile()


class Contextual(TypedDict, total=False):
    question: str
    files: Sequence[str]
    index: Index
    vector: Any
    answer: str
    places: list[Any]
    place: Any
    number: int
    chunks: Annotated[list[tuple[int, Doc]], operator.add]
    best: list[Doc]


def contextual_retrieval(clients: Clients) -> Runnable:
    async def read(state: Contextual) -> Contextual:
        chunks = await clients.passages(state["files"], 200, 20)
        return {"places": surroundings._function(chunks, neighbours=1)}

    def situations(state: Contextual) -> list[Send]:
        return [Send("situate", {"place": p, "number": i}) for i, p in enumerate(state["places"])]

    async def situate(state: Contextual) -> Contextual:
        prompt = prompts.situate(state["place"])
        context = await clients.write(SYSTEMS["situate"], prompt, max_tokens=20, stop=["\n"])
        chunk = in_context._function(state["place"].chunk, context)
        return {"chunks": [(state["number"], chunk)]}

    async def make_index(state: Contextual) -> Contextual:
        chunks = [chunk for _, chunk in sorted(state["chunks"], key=lambda pair: pair[0])]
        return {"index": await clients.index(chunks)}

    async def embed(state: Contextual) -> Contextual:
        return {"vector": (await clients.embed([state["question"]]))[0]}

    async def search(state: Contextual) -> Contextual:
        found = await clients.search(
            state["index"], state["question"], state["vector"], k=8, mode="hybrid"
        )
        return {"best": await clients.rerank(state["question"], found, 2)}

    async def write_answer(state: Contextual) -> Contextual:
        prompt = prompts.read(state["question"], state["best"])
        text = await clients.write(SYSTEMS["read"], prompt, max_tokens=48, stop=["\n"])
        return {"answer": text}

    graph = StateGraph(Contextual)
    _add(graph, read, situate, make_index, embed, search, write_answer)
    graph.add_edge(START, "read")
    graph.add_edge(START, "embed")
    graph.add_conditional_edges("read", situations, ["situate"])
    graph.add_edge("situate", "make_index")
    graph.add_edge(["make_index", "embed"], "search")
    graph.add_edge("search", "write_answer")
    graph.add_edge("write_answer", END)
    return graph.compile()


class Agent(TypedDict, total=False):
    question: str
    kind: str
    words: str
    docs: list[Doc]
    answer: str


def agent(clients: Clients) -> Runnable:
    async def judge_kind(state: Agent) -> Agent:
        prompt = prompts.kind(state["question"])
        return {"kind": await clients.write(SYSTEMS["judge"], prompt, prompts.KIND, max_tokens=8)}

    async def search_words(state: Agent) -> Agent:
        system, question = SYSTEMS["search_words"], state["question"]
        return {"words": await clients.write(system, question, max_tokens=16, stop=["\n"])}

    async def join(state: Agent) -> Agent:  # noqa: ARG001
        return {}

    async def search(state: Agent) -> Agent:
        words = f"{state['question']} {state['words']}"
        return {"docs": await asyncio.to_thread(lambda: search_agent.web(words, k=2))}

    async def answer_fact(state: Agent) -> Agent:
        prompt = prompts.read(state["question"], state["docs"])
        text = await clients.write(SYSTEMS["read"], prompt, max_tokens=32, stop=["\n"])
        return {"answer": text}

    async def chat(state: Agent) -> Agent:
        system, question = SYSTEMS["chat"], state["question"]
        return {"answer": await clients.write(system, question, max_tokens=32, stop=["\n"])}

    def route(state: Agent) -> str:
        return "search" if state["kind"] == '"fact"' else "chat"

    graph = StateGraph(Agent)
    _add(graph, judge_kind, search_words, join, search, answer_fact, chat)
    graph.add_edge(START, "judge_kind")
    graph.add_edge(START, "search_words")
    graph.add_edge(["judge_kind", "search_words"], "join")
    graph.add_conditional_edges("join", route, ["search", "chat"])
    graph.add_edge("search", "answer_fact")
    graph.add_edge("answer_fact", END)
    graph.add_edge("chat", END)
    return graph.compile()


class MapReduce(TypedDict, total=False):
    files: Sequence[str]
    parts: list[Doc]
    part: str
    number: int
    summaries: Annotated[list[tuple[int, str]], operator.add]
    answer: str


def map_reduce(clients: Clients) -> Runnable:
    async def read(state: MapReduce) -> MapReduce:
        return {"parts": await clients.passages(state["files"], 512, 0)}

    def parts(state: MapReduce) -> list[Send]:
        found = enumerate(state["parts"])
        return [Send("summarize", {"part": part.text, "number": i}) for i, part in found]

    async def summarize(state: MapReduce) -> MapReduce:
        prompt = prompts.summarize(state["part"])
        text = await clients.write(SYSTEMS["summarize"], prompt, max_tokens=24)
        return {"summaries": [(state["number"], text)]}

    async def merge(state: MapReduce) -> MapReduce:
        texts = [text for _, text in sorted(state["summaries"])]
        return {
            "answer": await clients.write(
                SYSTEMS["merge_summaries"], prompts.merge_summaries(texts), max_tokens=48
            )
        }

    graph = StateGraph(MapReduce)
    _add(graph, read, summarize, merge)
    graph.add_edge(START, "read")
    graph.add_conditional_edges("read", parts, ["summarize"])
    graph.add_edge("summarize", "merge")
    graph.add_edge("merge", END)
    return graph.compile()


class Judge(TypedDict, total=False):
    files: Sequence[str]
    article: str
    point: str
    number: int
    notes: Annotated[list[tuple[int, str]], operator.add]
    answer: str


def judge(clients: Clients) -> Runnable:
    async def read(state: Judge) -> Judge:
        return {"article": await asyncio.to_thread(prompts.article, state["files"])}

    def points(state: Judge) -> list[Send]:
        found = enumerate(prompts.POINTS)
        article = state["article"]
        return [Send("assess", {"article": article, "point": p, "number": i}) for i, p in found]

    async def assess(state: Judge) -> Judge:
        prompt = prompts.assess(state["article"], state["point"])
        text = await clients.write(SYSTEMS["assess"], prompt, max_tokens=32, stop=["\n"])
        return {"notes": [(state["number"], text)]}

    async def grade(state: Judge) -> Judge:
        prompt = prompts.grade([text for _, text in sorted(state["notes"])])
        text = await clients.write(SYSTEMS["grade"], prompt, prompts.GRADE, max_tokens=8)
        return {"answer": str(json.loads(text))}

    graph = StateGraph(Judge)
    _add(graph, read, assess, grade)
    graph.add_edge(START, "read")
    graph.add_conditional_edges("read", points, ["assess"])
    graph.add_edge("assess", "grade")
    graph.add_edge("grade", END)
    return graph.compile()


def _add(graph: Any, *nodes: Callable[..., Any]) -> None:
    for node in nodes:
        graph.add_node(node.__name__, node)


APPS: Mapping[str, Callable[[Clients], Runnable]] = {
    "advanced_rag": advanced_rag,
    "naive_rag": naive_rag,
    "search_agent": agent,
    "map_reduce_summary": map_reduce,
    "contextual_retrieval": contextual_retrieval,
    "judge": judge,
}
