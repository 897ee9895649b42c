"""One call of a language model that a component makes: constant instructions, then the text."""

from typing import Any, Unpack, cast

from frontend_dsl.components import LLM, no_llm
from frontend_dsl.errors import TraceError
from frontend_dsl.marked_texts import has_marks
from frontend_dsl.prompt import prompt
from frontend_dsl.sampling import Sampling
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame


def ask(
    llm: LLM,
    name: str,
    instructions: str,
    text: str,
    *,
    out: Any = str,
    **sampling: Unpack[Sampling],
) -> Any:
    """What the model answers to `text`. The instructions come first, so that calls share them."""

    def prompt_text() -> str:
        return text

    prompt_text.__name__ = name
    return cast(Any, prompt(llm, out=out, system=instructions, **sampling)(prompt_text))()


def check_llm(component: str, llm: object) -> None:
    """Raise TypeError if the first argument of a component is no LLM."""
    if not isinstance(llm, LLM):
        raise TypeError(f"{component} needs an LLM, not {no_llm(llm)}")


def check_instructions(component: str, **texts: str | None) -> None:
    """Raise TraceError for instructions that are known only when the app runs."""
    for name, text in texts.items():
        if isinstance(text, Value) or has_marks(text):
            problem = (
                f"{name}= of {component} must be a constant text; what is known only when the app "
                "runs goes into the question"
            )
            raise TraceError(problem, *user_frame())


def check_count(component: str, name: str, count: object, least: int) -> None:
    """Raise TraceError unless `count` is a whole number, known now, of `least` or more."""
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        problem = f"{component} needs {name} >= {least}, a number known now; got {count!r}"
        raise TraceError(problem, *user_frame())
