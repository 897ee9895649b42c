"""`tl.Agent`: a model with instructions, tools and an answer type, called like an app.

An agent without tools and memory is exactly one prompt: inside an app its nodes are a part of the
app's graph. Any other is a session: a node of the app, whose turns and calls are its own segments.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, Unpack, overload

from frontend_dsl.agents.agent_calls import AgentCalls
from frontend_dsl.agents.agent_tools import callees_of
from frontend_dsl.agents.loop import OnLimit, Rules
from frontend_dsl.agents.memory import Memory
from frontend_dsl.agents.results import Budget
from frontend_dsl.ask import check_count, check_llm
from frontend_dsl.components import LLM
from frontend_dsl.forms import form_of
from frontend_dsl.marked_texts import has_marks
from frontend_dsl.sampling import Sampling, sampling_attrs
from frontend_dsl.where import user_module

T = TypeVar("T")

MAX_TURNS = 8
TURN_TOKENS = 1024  # of a turn that may call tools, where max_tokens says nothing
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # what servers take as the name of a tool


class Agent(AgentCalls[T]):
    """A model with instructions: `writer = tl.Agent("writer", llm, instructions="Be brief.")`.

    `writer("Explain radix trees.", audience="children")` gives the answer, of the type `out`: in an
    app a value of it, outside the real one. Positional texts are paragraphs of what is said,
    keyword arguments lines `name: value`. What else an app has, an agent has too: `arun`,
    `stream`, `batch`, `using`; `graph` and `plan` where it has neither tools nor memory.

    `tools` are functions, `tl.tool`s, apps, other agents, and what has an `AgentTool`. Their
    schemas come from signatures and docstrings. A wrong call, and what a tool raises, is told to
    the model. Calls of one turn run side by side, unless `parallel_calls=False`; those of tools
    that change nothing (`pure`, `reads`) start while the model still writes.

    `max_turns` bounds the model's turns, `budget` tokens, seconds and calls: at a limit it raises
    BudgetExceeded, or with `on_limit="answer"` has one more turn without tools. `tool_choice`
    ("auto", "required", "none" or a name) is for the first turn.
    """

    @overload
    def __init__(
        self: "Agent[str]",
        name: str,
        llm: LLM,
        *,
        instructions: str = "",
        tools: Sequence[Any] = (),
        max_turns: int = MAX_TURNS,
        budget: Budget | None = None,
        memory: Memory | None = None,
        tool_choice: str = "auto",
        on_limit: OnLimit = "raise",
        parallel_calls: bool = True,
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
        tools: Sequence[Any] = (),
        max_turns: int = MAX_TURNS,
        budget: Budget | None = None,
        memory: Memory | None = None,
        tool_choice: str = "auto",
        on_limit: OnLimit = "raise",
        parallel_calls: bool = True,
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
        tools: Sequence[Any] = (),
        max_turns: int = MAX_TURNS,
        budget: Budget | None = None,
        memory: Memory | None = None,
        tool_choice: str = "auto",
        on_limit: OnLimit = "raise",
        parallel_calls: bool = True,
        description: str = "",
        **sampling: Unpack[Sampling],
    ) -> None: ...
    def __init__(
        self,
        name: str,
        llm: LLM,
        *,
        instructions: str = "",
        tools: Sequence[Any] = (),
        out: Any = str,
        max_turns: int = MAX_TURNS,
        budget: Budget | None = None,
        memory: Memory | None = None,
        tool_choice: str = "auto",
        on_limit: OnLimit = "raise",
        parallel_calls: bool = True,
        description: str = "",
        **sampling: Unpack[Sampling],
    ) -> None:
        check_llm("tl.Agent", llm)
        _check_texts(name, instructions)
        check_count("tl.Agent", "max_turns", max_turns, 1)
        _check_parts(name, tools, budget, memory)
        self.llm = llm
        self.instructions = instructions
        self.description = description
        self.tools = tuple(tools)
        self.memory = memory
        self.__doc__ = description or instructions or None
        self._form = form_of(out, **sampling)
        callees = callees_of(self.tools)
        _check_choices(name, tool_choice, on_limit, [*callees])
        self._turn_sampling = sampling_attrs(TURN_TOKENS, **sampling) if callees else None
        self._rules = Rules(
            name,
            callees,
            self._form,
            max_turns,
            budget or Budget(),
            tool_choice,
            on_limit,
            parallel_calls,
        )
        module = user_module()
        self.__module__ = str(module.get("__name__"))
        self._place(name, module)

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, {self.llm!r})"


def _check_texts(name: object, instructions: object) -> None:
    """Raises ValueError and TypeError for a name that no tool can have, and what is no text."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problem = "letters, digits, _ and -, at most 64, not a digit first"
        raise ValueError(f"the name of a tl.Agent has {problem}; got {name!r}")
    if not isinstance(instructions, str) or has_marks(instructions):
        raise TypeError("instructions= of tl.Agent must be constant text")


def _check_parts(name: str, tools: object, budget: object, memory: object) -> None:
    """Raises TypeError for what is no list of tools, no budget and no memory."""
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Iterable):
        raise TypeError(f"tools= of the agent {name} is a list, as tools=[search]; got {tools!r}")
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget= of the agent {name} is a tl.Budget(...), not {budget!r}")
    if memory is not None and (isinstance(memory, type) or not isinstance(memory, Memory)):
        raise TypeError(f"memory= of the agent {name} is a memory, as tl.Window(8), not {memory!r}")


def _check_choices(name: str, tool_choice: str, on_limit: str, tools: Sequence[str]) -> None:
    """Raises ValueError for a choice that there is not."""
    known = ["auto", "none", "required", *tools]
    if tool_choice not in known or (tool_choice not in ("auto", "none") and not tools):
        has = ", ".join(map(repr, known))
        raise ValueError(f"tool_choice= of the agent {name} is {tool_choice!r}; it may be {has}")
    if on_limit not in ("raise", "answer"):
        raise ValueError(f'on_limit= of the agent {name} is "raise" or "answer", not {on_limit!r}')
