"""An answer, or a summary, from documents: in one call, one after another, as a tree, or by a map.

Each mode expands to prompt calls when the app is traced, so the optimizer sees every prefill and
decode of it. Instructions come first, then passages, then earlier answers: what is known early is
prefilled early. The question comes after the passages, where small models answer far better: on
`samples/data/questions.jsonl` smollm2-135m has 5 of 8 right, and 3 with the question first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack, cast, get_args

from backends.documents import Doc
from frontend_dsl.ask import ask, check_count, check_instructions, check_llm
from frontend_dsl.components import LLM
from frontend_dsl.control import map_
from frontend_dsl.errors import TraceError
from frontend_dsl.functions import join
from frontend_dsl.sampling import Sampling
from frontend_dsl.tools import tool
from frontend_dsl.tracer import tracing
from frontend_dsl.where import user_frame

SynthesisMode = Literal["one_shot", "refine", "tree", "map_reduce"]
MODES: tuple[str, ...] = get_args(SynthesisMode)

BETWEEN = "\n\n"  # texts of one prompt
NOTHING = "(no passages)"
ANSWER = "Answer the question from the passages, in one or two sentences."
IMPROVE = (
    "Improve the answer to the question with the new passage, in one or two sentences. "
    "If the passage does not help, repeat the answer."
)
MERGE = "Merge these answers to the question into one answer of one or two sentences."
SUMMARIZE = "You write short summaries."
EXTEND = "You write short summaries: of what the summary so far says, and of the new text."
MERGE_SUMMARIES = "You merge summaries of parts into one short summary."
ABOUT = "What is this text about?"  # to which small models write more of a summary


@dataclass(frozen=True, slots=True)
class _Words:
    """What the prompts of one synthesis say."""

    read: str  # instructions of a call that reads documents
    build: str  # instructions of a call that builds on earlier answers
    wanted: str  # what a prompt ends with: the question, or that a summary comes
    source: str  # what a document is called
    result: str  # what an earlier answer is called


@dataclass(frozen=True, slots=True)
class _Synthesis:
    llm: LLM
    words: _Words
    sampling: Sampling  # of the last call
    part_sampling: Sampling  # of the calls before it

    def read(self, passages: str, *, is_last: bool) -> str:
        """The answer from passages."""
        return self._ask("read", self.words.read, passages, is_last)

    def refine(self, passage: str, answer: str, *, is_last: bool) -> str:
        """The answer, improved with one passage, which is known before the answer is."""
        words = self.words
        text = f"New {words.source}:\n{passage}\n\n{words.result} so far: {answer}"
        return self._ask("refine", words.build, text, is_last)

    def merge(self, answers: str, *, is_last: bool) -> str:
        """One answer from several."""
        return self._ask("merge", self.words.build, answers, is_last)

    def _ask(self, name: str, instructions: str, text: str, is_last: bool) -> str:
        sampling = self.sampling if is_last else self.part_sampling
        text = f"{text}\n\n{self.words.wanted}"
        return cast(str, ask(self.llm, name, instructions, text, **sampling))


def synthesize(
    llm: LLM,
    question: str | None,
    docs: Sequence[Doc | str],
    *,
    mode: SynthesisMode = "one_shot",
    k: int | None = None,
    fanout: int = 2,
    instructions: str | None = None,
    build_instructions: str | None = None,
    part_tokens: int | None = None,
    **sampling: Unpack[Sampling],
) -> str:
    """The answer to `question` from `docs`; without a question (None), a summary of them.

    - `one_shot`: one call reads all documents.
    - `refine`: `k` calls, one after another; each improves the answer with its documents.
    - `tree`: `k` calls side by side, then merges of `fanout` answers each, until one is left.
    - `map_reduce`: a call for each document, however many there are; one call merges the answers.

    For `refine` and `tree` the number of calls must be known when the app is traced: it is `k`, or
    the length of a real Python list. Documents are dealt to the `k` calls in order, none left out:
    several to a call if there are more of them than calls. If there are fewer they are dealt
    again from the first, and if there are none at all every call is told so.

    `instructions` are those of calls that read documents, `build_instructions` those of calls that
    build on earlier answers; `part_tokens` is the `max_tokens` of all calls but the last.
    """
    tracer = tracing("tl.synthesize")
    _check(llm, docs, mode, k, fanout)
    check_instructions(
        "tl.synthesize", instructions=instructions, build_instructions=build_instructions
    )
    with tracer.call("synthesize"), tracer.inside():
        words = _words(mode, question, instructions, build_instructions)
        part_sampling = Sampling(**sampling)
        if part_tokens is not None:
            part_sampling["max_tokens"] = part_tokens
        work = _Synthesis(llm, words, sampling, part_sampling)
        if mode == "one_shot":
            return work.read(_joined(docs), is_last=True)
        if mode == "map_reduce":
            answers = map_(lambda doc: work.read(f"{doc}", is_last=False), docs)
            return work.merge(_joined(answers), is_last=True)
        parts = _deal(docs, k)
        return _refined(work, parts) if mode == "refine" else _grown(work, parts, fanout)


def _refined(work: _Synthesis, parts: Sequence[str]) -> str:
    first, *others = parts
    answer = work.read(first, is_last=not others)
    for number, part in enumerate(others, start=1):
        answer = work.refine(part, answer, is_last=number == len(others))
    return answer


def _grown(work: _Synthesis, parts: Sequence[str], fanout: int) -> str:
    level = [work.read(part, is_last=len(parts) == 1) for part in parts]
    while len(level) > 1:
        groups = [level[start : start + fanout] for start in range(0, len(level), fanout)]
        is_last = len(groups) == 1
        level = [
            group[0]
            if len(group) == 1
            else work.merge(BETWEEN.join(f"{one}" for one in group), is_last=is_last)
            for group in groups
        ]
    return level[0]


def _joined(docs: Sequence[Doc | str]) -> str:
    return join(docs, "{text}", sep=BETWEEN)


def _words(
    mode: SynthesisMode, question: str | None, instructions: str | None, build: str | None
) -> _Words:
    is_summary = question is None
    if build is None and mode == "refine":
        build = EXTEND if is_summary else IMPROVE
    if build is None:
        build = MERGE_SUMMARIES if is_summary else MERGE
    if is_summary:
        return _Words(instructions or SUMMARIZE, build, ABOUT, "text", "Summary")
    return _Words(instructions or ANSWER, build, f"Question: {question}", "passage", "Answer")


def _deal(docs: Sequence[Doc | str], k: int | None) -> Sequence[str]:
    """The texts of the `k` calls, dealt now if the list is known, else by a tool."""
    if isinstance(docs, (list, tuple)):
        groups = dealt([_text(doc) for doc in docs], max(1, len(docs)) if k is None else k)
        return [BETWEEN.join(f"{text}" for text in group) or NOTHING for group in groups]
    assert k is not None, "checked"
    texts = _deal_texts(docs, k=k)
    return [texts[i] for i in range(k)]


@tool(pure=True, name="deal")
def _deal_texts(docs: Sequence[Doc | str], *, k: int) -> list[str]:
    groups = dealt([_text(doc) for doc in docs], k)
    return [BETWEEN.join(group) or NOTHING for group in groups]


def dealt(items: Sequence[Any], k: int) -> list[list[Any]]:
    """The items in `k` groups, in order and as even as can be; too few are dealt again."""
    if len(items) <= k:
        return [[items[i % len(items)]] if items else [] for i in range(k)]
    small, num_larger = divmod(len(items), k)
    ends = [(i + 1) * small + min(i + 1, num_larger) for i in range(k)]
    return [list(items[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _text(doc: Any) -> Any:
    """The text of a real document; a value that is known only when the app runs as it is."""
    return doc.text if isinstance(doc, Doc) else doc


def _check(llm: object, docs: object, mode: str, k: int | None, fanout: int) -> None:
    check_llm("tl.synthesize", llm)
    if isinstance(docs, str):
        raise TypeError("tl.synthesize takes a list of documents; write [text]")
    if mode not in MODES:
        modes = ", ".join(MODES)
        raise TraceError(f"unknown mode {mode!r} of tl.synthesize; {modes}", *user_frame())
    is_static = mode in ("refine", "tree")
    if k is not None:
        check_count("tl.synthesize", "k", k, 1)
        if not is_static:
            problem = f"mode={mode!r} of tl.synthesize reads all documents; leave k out"
            raise TraceError(problem, *user_frame())
    elif is_static and not isinstance(docs, (list, tuple)):
        problem = (
            f"mode={mode!r} of tl.synthesize must know now how many calls it makes; say k=, "
            'or use mode="map_reduce", which takes any number of documents'
        )
        raise TraceError(problem, *user_frame())
    check_count("tl.synthesize", "fanout", fanout, 2)
