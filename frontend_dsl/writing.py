"""One turn of a language model as primitives: a prefill, a decode, a parse for a declared type."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from frontend_dsl.components import LLM
from frontend_dsl.declared_types import type_name
from frontend_dsl.forms import Form
from frontend_dsl.recovery import emit_bodies
from frontend_dsl.traced_body import trace_body
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Context, Value
from graph_opt.graph import SPACE, Json, Marker

NOT_VALID = "Your answer is not valid: "
ASK_AGAIN = ". Write the whole answer again."


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote."""

    text: Value
    context: Value  # that ends in the text
    result: Value  # of the declared type; the text if that is str


def write(
    tracer: Tracer,
    name: str,
    llm: LLM,
    context: Value | None,
    parts: Sequence[Any],
    form: Form,
) -> Written:
    """What the model writes behind a context (None: an empty one) and the parts of a prompt."""
    written = write_text(tracer, name, llm, context, parts, form)
    if not form.is_parsed:
        return written
    result = _parsed(tracer, name, llm, written.text, written.context, form)
    return replace(written, result=result)


def write_text(
    tracer: Tracer,
    name: str,
    llm: LLM,
    context: Value | None,
    parts: Sequence[Any],
    form: Form,
) -> Written:
    """The same with the text itself as the result, whatever its form."""
    filled = prefill(tracer, name, llm, context, parts)
    attrs = {**on_engine(tracer, llm), **form.sampling, **form.held_to}
    hints = [f"{name}.json" if form.is_parsed else name, f"{name}.context"]
    text, after = tracer.emit_many("decode", (filled,), attrs, hints, [str, Context])
    return Written(text, after, text)


def _parsed(tracer: Tracer, name: str, llm: LLM, text: Value, after: Value, form: Form) -> Value:
    """The value that the text says; if it is invalid, the model is told why and asked again."""
    symbol = tracer.symbols.value(type_name(form.out), form.out)

    def parse() -> Value:
        here = tracing("a parse")
        attrs = {"type": symbol, **here.items_attr(symbol, ())}
        return here.emit("parse", (text,), attrs, name, form.out)

    def ask_again(error: Value) -> Value:
        inner = tracing("a retry")
        path: dict[str, Json] = {"path": ["cause", "reason"]}
        reason = inner.emit("get", (error,), path, "reason", str)
        words = prompt_parts([NOT_VALID, reason, ASK_AGAIN])
        parts = [Marker("user"), *words, Marker("assistant")]
        return write(inner, name, llm, after, parts, replace(form, retries=form.retries - 1)).result

    if not form.retries:
        return parse()
    tried = trace_body(tracer, lambda error: parse(), [Exception])  # noqa: ARG005
    again = trace_body(tracer, ask_again, [Exception])
    return emit_bodies(tracer, "attempt", [tried, again], {"only_invalid": True}, name)


def prefill(
    tracer: Tracer,
    name: str,
    llm: LLM,
    context: Value | None,
    parts: Sequence[Any],
    attrs: Mapping[str, Json] | None = None,
) -> Value:
    """The context behind which the parts of a prompt were read; without parts the same."""
    if context is not None and not parts:
        return context
    if context is None:
        engine: dict[str, Json] = {"engine": tracer.symbols.engine(llm)}
        context = tracer.emit("context", (), engine, f"{name}.empty", Context)
    args = (context, *parts)
    reuse: dict[str, Json] = {} if llm.fusion is None else {"reuse": llm.fusion}
    on = {**on_engine(tracer, llm), **reuse, **(attrs or {})}
    return tracer.emit("prefill", args, on, f"{name}.prompt", Context)


def on_engine(tracer: Tracer, llm: LLM) -> dict[str, Json]:
    """The attrs that say which model reads or writes."""
    engine: dict[str, Json] = {"engine": tracer.symbols.engine(llm)}
    return engine if llm.adapter is None else {**engine, "adapter": llm.adapter}


def prompt_parts(words: Iterable[str | Value]) -> list[Any]:
    """Texts, values and markers, as a prefill takes them.

    A space before a value belongs to the value: most vocabularies hold words with their space,
    and each part is tokenised by itself.
    """
    parts: list[Any] = []
    for piece in words:
        if isinstance(piece, Value) and parts and _ends_in_one_space(parts[-1]):
            head = parts.pop()[:-1]
            parts += [head, SPACE, piece] if head else [SPACE, piece]
        else:
            parts.append(piece)
    return parts


def _ends_in_one_space(part: Any) -> bool:
    return isinstance(part, str) and part.endswith(" ") and not part.endswith("  ")
