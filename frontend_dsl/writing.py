"""One turn of a language model as primitives: a prefill, a decode, a parse for a declared type."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from frontend_dsl.components import LLM
from frontend_dsl.recovery import emit_bodies
from frontend_dsl.schema import json_schema
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Context, Value, type_name
from graph_opt.graph import Json, Marker

SPACE = Marker("sp")
NOT_VALID = "Your answer is not valid: "
ASK_AGAIN = ". Write the whole answer again."


@dataclass(frozen=True, slots=True)
class Form:
    """What a model is to write: a type with its JSON schema (None for str), and how to sample."""

    out: Any
    schema: Json
    sampling: Mapping[str, Json]
    retries: int = 0  # how often it is asked again for a value of the type


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
    filled = prefill(tracer, name, llm, context, parts)
    attrs = {**_on(tracer, llm), **form.sampling}
    if form.schema is not None:
        attrs["schema"] = form.schema
    hints = [name if form.schema is None else f"{name}.json", f"{name}.context"]
    text, after = tracer.emit_many("decode", (filled,), attrs, hints, [str, Context])
    if form.schema is None:
        return Written(text, after, text)
    return Written(text, after, _parsed(tracer, name, llm, text, after, form))


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
    tried = tracer.trace_body(lambda error: parse(), [Exception])  # noqa: ARG005
    again = tracer.trace_body(ask_again, [Exception])
    return emit_bodies(tracer, "attempt", [tried, again], {"only_invalid": True}, name)


def prefill(
    tracer: Tracer, name: str, llm: LLM, context: Value | None, parts: Sequence[Any]
) -> Value:
    """The context behind which the parts of a prompt were read."""
    if context is None:
        engine: dict[str, Json] = {"engine": tracer.symbols.engine(llm)}
        context = tracer.emit("context", (), engine, f"{name}.empty", Context)
    args = (context, *parts)
    return tracer.emit("prefill", args, _on(tracer, llm), f"{name}.prompt", Context)


def _on(tracer: Tracer, llm: LLM) -> dict[str, Json]:
    engine: dict[str, Json] = {"engine": tracer.symbols.engine(llm)}
    return engine if llm.adapter is None else {**engine, "adapter": llm.adapter}


def schema_of(out: Any) -> Any:
    """The JSON schema that holds decoding to a type; None for str."""
    return None if out is str else json_schema(out)


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


def sampling_attrs(
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
) -> dict[str, Json]:
    """The attrs of a decode; what is off is left out."""
    if temperature < 0 or max_tokens < 1 or not 0 < top_p <= 1 or top_k < 0:
        raise ValueError(
            "need temperature >= 0, max_tokens >= 1, 0 < top_p <= 1 and top_k >= 0; got "
            f"{temperature=} {max_tokens=} {top_p=} {top_k=}"
        )
    attrs: dict[str, Json] = {"max_tokens": max_tokens}
    if temperature:
        attrs |= {"temperature": temperature}
        attrs |= {"top_p": top_p} if top_p < 1 else {}
        attrs |= {"top_k": top_k} if top_k else {}
        attrs |= {"seed": seed} if seed is not None else {}
    if stop:
        attrs["stop"] = [stop] if isinstance(stop, str) else list(stop)
    return attrs
