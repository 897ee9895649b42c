"""`tl.Agent`: a model with instructions and an answer type, called like an app.

An agent without tools is exactly one prompt: inside an app its nodes are a part of the app's graph.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar, Unpack, cast, overload

from frontend_dsl.agents.task import task_text
from frontend_dsl.app import App
from frontend_dsl.app_function import AppFunction
from frontend_dsl.ask import check_llm
from frontend_dsl.components import LLM, Component, Composed
from frontend_dsl.forms import form_of
from frontend_dsl.inlining import check_options
from frontend_dsl.messages import Message, turn_parts
from frontend_dsl.outside import runner_for
from frontend_dsl.program import RunOptions
from frontend_dsl.recovery import limited
from frontend_dsl.sampling import Sampling
from frontend_dsl.signature import MISSING, AppParameter
from frontend_dsl.symbols import replacing
from frontend_dsl.tracer import tracing
from frontend_dsl.value import has_marks
from frontend_dsl.where import user_frame, user_module
from frontend_dsl.writing import write

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # what servers take as the name of a tool


class Agent(App[..., T], Composed):
    """A model with instructions: `writer = tl.Agent("writer", llm, instructions="Be brief.")`.

    `writer("Explain radix trees.", audience="children")` gives the answer, of the type `out`: in an
    app a value of it, outside the real one. Positional texts are paragraphs of what is said,
    keyword arguments lines `name: value`. What else an app has, an agent has too: `arun`,
    `stream`, `batch`, `using`, `graph`, `plan`.
    """

    @overload
    def __init__(
        self: "Agent[str]",
        name: str,
        llm: LLM,
        *,
        instructions: str = "",
        description: str = "",
        **sampling: Unpack[Sampling],
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        llm: LLM,
        *,
        out: type[T],
        instructions: str = "",
        description: str = "",
        **sampling: Unpack[Sampling],
    ) -> None: ...
    @overload
    def __init__(
        self: "Agent[Any]",
        name: str,
        llm: LLM,
        *,
        out: Any,  # what is no class: Literal["a", "b"], int | None, a JSON schema
        instructions: str = "",
        description: str = "",
        **sampling: Unpack[Sampling],
    ) -> None: ...
    def __init__(
        self,
        name: str,
        llm: LLM,
        *,
        instructions: str = "",
        out: Any = str,
        description: str = "",
        **sampling: Unpack[Sampling],
    ) -> None:
        check_llm("tl.Agent", llm)
        _check_texts(name, instructions)
        self.llm = llm
        self.instructions = instructions
        self.description = description
        self.__doc__ = description or instructions or None
        self._form = form_of(out, **sampling)
        module = user_module()
        self.__module__ = str(module.get("__name__"))
        task = AppParameter("task", str, MISSING, is_static=False)
        function = AppFunction(
            self._answer, name, False, False, (task,), user_frame(), module=module
        )
        self._begin(function, lambda: runner_for(f"the agent {name}"), RunOptions())

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, {self.llm!r})"

    def components(self) -> tuple[Component, ...]:
        return (self.llm,)

    def _answer(self, task: str) -> T:
        """One prompt, in the graph that is traced."""
        tracer = tracing(f"the agent {self.name}")
        with tracer.call(self.name):
            system = [Message("system", self.instructions)] if self.instructions else []
            turns = [*system, Message("user", task)]
            parts = turn_parts(turns, (self.instructions,), tracer.given)
            return cast(T, write(tracer, self.name, self.llm, None, parts, self._form).result)

    def _received(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[AppFunction, tuple[Any, ...], Mapping[str, Any]]:
        said = (task_text(self.name, args, kwargs),) if args or kwargs else ()
        return self._app_function, said, {}

    def _inline(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        options, variables = self.options, self._app_function.variables
        check_options(self.name, options)
        tracer = tracing(f"the agent {self.name}")
        with replacing(self.name, options.engines, variables), tracer.call(self.name):
            text = task_text(self.name, args, kwargs)
            if options.timeout_s is None:
                return self._answer(text)
            return limited(self.name, options.timeout_s, lambda: self._answer(text))


def _check_texts(name: object, instructions: object) -> None:
    """Raises ValueError and TypeError for a name that no tool can have, and what is no text."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problem = "letters, digits, _ and -, at most 64, not a digit first"
        raise ValueError(f"the name of a tl.Agent has {problem}; got {name!r}")
    if not isinstance(instructions, str) or has_marks(instructions):
        raise TypeError("instructions= of tl.Agent must be constant text")
