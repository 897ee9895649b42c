"""One of some texts, chosen by how likely the model finds each behind a prompt."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from frontend_dsl.ask import check_llm
from frontend_dsl.components import LLM
from frontend_dsl.errors import TraceError
from frontend_dsl.messages import Message, is_conversation, turn_parts
from frontend_dsl.outside import compute
from frontend_dsl.template import is_t_string
from frontend_dsl.tracer import Tracer, current, tracing
from frontend_dsl.value import Context, Value
from frontend_dsl.where import user_frame
from frontend_dsl.writing import Written, on_engine, prefill
from graph_opt.graph import Json
from graph_opt.verify import SCORES

Score: TypeAlias = Literal["mean", "sum"]


def choose(
    tracer: Tracer,
    name: str,
    llm: LLM,
    context: Value | None,
    parts: Sequence[Any],
    choices: Any,
    score: Score,
) -> tuple[Written, Value]:
    """The choice that is likeliest behind a context and the parts of a prompt; and all scores."""
    filled = prefill(tracer, name, llm, context, parts)
    attrs: dict[str, Json] = on_engine(tracer, llm)
    attrs |= {} if score == "mean" else {"score": score}
    hints = [name, f"{name}.scores", f"{name}.context"]
    text, scores, after = tracer.emit_many(
        "select", (filled, choices), attrs, hints, [str, list[float], Context]
    )
    return Written(text, after, text), scores


def select_answer(llm: LLM, prompt: Any, choices: Any, *, score: Score) -> Any:
    """The choice that answers a prompt; outside of an app the real one."""
    check_llm("tl.select", llm)
    choices, score = checked_choices(choices), checked_score(score)
    if current() is None:
        return compute("select", lambda: select_answer(llm, prompt, choices, score=score))
    tracer = tracing("tl.select")
    is_text = isinstance(prompt, (str, Value)) or is_t_string(prompt)
    turns: Any = [Message("user", prompt)] if is_text else prompt
    if not is_conversation(turns):
        problem = f"tl.select takes a prompt text or a list of tl.Message, not {prompt!r}"
        raise TraceError(problem, *user_frame())
    with tracer.call("select"):
        parts = turn_parts(turns, (), tracer.given)
        return choose(tracer, "select", llm, None, parts, choices, score)[0].text


def checked_choices(choices: Any) -> Any:
    """A list of texts, or a value of the app. Raises TraceError for what is none."""
    if isinstance(choices, Value):
        return choices
    texts = [] if isinstance(choices, str) or choices is None else list(choices)
    if not texts or not all(isinstance(text, Value) or _is_text(text) for text in texts):
        problem = f"tl.select needs choices=, a list of texts, none empty; got {choices!r}"
        raise TraceError(problem, *user_frame())
    return texts


def checked_score(score: Any) -> Score:
    """Raises TraceError for a way of scoring that there is not."""
    if score not in SCORES:
        known = " or ".join(map(repr, SCORES))
        raise TraceError(f"score= of tl.select is {known}, not {score!r}", *user_frame())
    return "sum" if score == "sum" else "mean"


def _is_text(choice: object) -> bool:
    return isinstance(choice, str) and choice != ""
