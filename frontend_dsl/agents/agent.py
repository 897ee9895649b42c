"""`tl.Agent`: a model with instructions, tools and an answer type, called like an app.

An agent without tools and memory is exactly one prompt: inside an app its nodes are a part of the
app's graph. Any other is a session: a node of the app, whose turns and calls are its own segments.
"""

import copy
import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, Unpack, cast, overload

from backends.registry import EngineSpec
from frontend_dsl.agents.agent_tools import callees_of
from frontend_dsl.agents.loop import Loop, OnLimit, Rules
from frontend_dsl.agents.memory import Memory
from frontend_dsl.agents.meter import Meter, current_meter, metered
from frontend_dsl.agents.results import AgentResult, Budget
from frontend_dsl.agents.talk import TURN, Talk
from frontend_dsl.agents.task import task_text
from frontend_dsl.app import App
from frontend_dsl.app_function import AppFunction
from frontend_dsl.ask import check_count, check_llm
from frontend_dsl.breaks import run_of_async_app
from frontend_dsl.components import LLM, Component, Composed
from frontend_dsl.errors import TraceError
from frontend_dsl.forms import form_of
from frontend_dsl.inlining import check_options
from frontend_dsl.marked_texts import has_marks
from frontend_dsl.messages import Message, turn_parts
from frontend_dsl.nested import NestedApp, Specs, emit_nested
from frontend_dsl.outside import runner_for
from frontend_dsl.program import Program, RunOptions
from frontend_dsl.recovery import limited
from frontend_dsl.sampling import Sampling, sampling_attrs
from frontend_dsl.signature import MISSING, AppParameter
from frontend_dsl.symbols import Symbols, replacing
from frontend_dsl.tracer import current, tracing
from frontend_dsl.where import user_frame, user_module
from frontend_dsl.writing import write
from graph_opt.graph import Json

T = TypeVar("T")

MAX_TURNS = 8
TURN_TOKENS = 1024  # of a turn that may call tools, where max_tokens says nothing
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # what servers take as the name of a tool
_READS: Mapping[str, Json] = {"pure": True, "reads": True}


class Agent(App[..., T], Composed):
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

    def _place(self, name: str, module: Mapping[str, Any]) -> None:
        """Make it an app of the user's module."""
        is_session = bool(self.tools) or self.memory is not None
        call = self._converse if is_session else self._answer
        task = (AppParameter("task", str, MISSING, is_static=False),)
        function = AppFunction(call, name, is_session, False, task, user_frame(), module=module)
        options = RunOptions(is_agent=True)
        self._begin(function, lambda: runner_for(f"the agent {name}"), options)

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, {self.llm!r})"

    def run(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, AgentResult[T]]:
        """The answer and how it came about: `result = await agent.run(task)`.

        In an `async def` app it runs as a part of that; elsewhere on the caller's own loop.
        """
        if current() is None:
            return self._run_whole(args, kwargs, self.options)
        run = run_of_async_app("agent.run()", "takes agent(...), a value of the app")
        check_options(self.name, self.options)
        text = task_text(self.name, args, kwargs)
        value = emit_nested(self._nested_as(AgentResult), {"task": text})
        return cast("Coroutine[Any, Any, AgentResult[T]]", run.resolve(value))

    def components(self) -> tuple[Component, ...]:
        """Its model, and what its tools and its memory run on."""
        of_tools = [one for callee in self._rules.callees.values() for one in callee.components]
        of_memory = () if self.memory is None else self.memory.components()
        return tuple({id(one): one for one in (self.llm, *of_tools, *of_memory)}.values())

    @property
    def access(self) -> Mapping[str, Json]:
        changes = self.memory is not None
        is_pure = all(callee.is_pure for callee in self._rules.callees.values())
        return _READS if is_pure and not changes else {}

    # One prompt

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
        if self.is_async:
            with tracer.call(self.name):
                nested = self._nested_as(self._form.out)
                return emit_nested(nested, {"task": task_text(self.name, args, kwargs)})
        with replacing(self.name, options.engines, variables), tracer.call(self.name):
            text = task_text(self.name, args, kwargs)
            if options.timeout_s is None:
                return self._answer(text)
            return limited(self.name, options.timeout_s, lambda: self._answer(text))

    # A session

    def _nested(self) -> NestedApp:
        return self._nested_as(self._form.out)

    def _nested_as(self, returns: Any) -> NestedApp:
        """Made once for each form of the result: a graph names it."""
        owner, made = self.__dict__.get("_nested_apps", (None, {}))
        if owner is not self:  # a copy by `using` has its own
            made = {}
            self.__dict__["_nested_apps"] = (self, made)
        form = "whole" if returns is AgentResult else "answer"
        if form not in made:
            run = self._run_whole if returns is AgentResult else self._run_session

            def start(
                arguments: Mapping[str, Any], options: RunOptions, specs: Specs
            ) -> Coroutine[Any, Any, Any]:
                return run((arguments["task"],), {}, options, specs)

            variables, components = self._app_function.variables, self.components()
            made[form] = NestedApp(
                self.name, start, self.options, returns, variables, components, self.access
            )
        return cast(NestedApp, made[form])

    def _program_for(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
        if self.is_async:
            problem = (
                f"the agent {self.name} has tools or memory: its graphs come to be while it runs; "
                "run it with trace= and look at the trace"
            )
            raise TraceError(problem, *self._app_function.place)
        return super()._program_for(args, kwargs)

    async def _run_session(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: RunOptions,
        specs: Specs | None = None,
    ) -> Any:
        return (await self._run_whole(args, kwargs, options, specs)).output

    async def _run_whole(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: RunOptions,
        specs: Specs | None = None,
    ) -> AgentResult[T]:
        turn = f"{self.name}.{TURN}" if self.tools else None
        meter = Meter(options.listener, turn, self._is_native(options, specs))
        options = replace(options, listener=meter)
        with metered(meter):
            whole = self._as_session()
            return cast(AgentResult[T], await App._run_session(whole, args, kwargs, options, specs))

    def _as_session(self) -> "Agent[T]":
        """The agent whose function is the loop, also where a prompt would do."""
        if self.is_async:
            return self
        session = copy.copy(self)
        session._set_function(replace(self._app_function, call=self._converse, is_async=True))
        return session

    async def _converse(self, task: str) -> AgentResult[T]:
        run = run_of_async_app(f"the agent {self.name}")
        meter = current_meter()
        sampling = self._turn_sampling or self._form.sampling
        talk = Talk(self.name, self.llm, self._rules.callees, sampling, is_native=meter.is_native)
        about, before = ("", []) if self.memory is None else await self.memory.recall(task)
        system = "\n\n".join(filter(None, [self.instructions, about]))
        loop = Loop(self._rules, talk, run, meter)
        result = await loop.result([*talk.open(system), *before, ("user", task)])
        if self.memory is not None:
            answers = [each.content for each in result.messages if each.role == "assistant"]
            await self.memory.keep(task, answers[-1])
        return result

    def _is_native(self, options: RunOptions, specs: Specs | None) -> bool:
        """Whether the model's engine takes tools itself."""
        if not self.tools:
            return True
        spec = self._spec(options, specs or {})
        able = self._runner().capabilities(spec)
        return able is None or "tools" in able

    def _spec(self, options: RunOptions, specs: Specs) -> EngineSpec:
        symbols = Symbols(self._app_function.variables, specs)
        name = symbols.engine(self.llm)
        url = options.engines.get(name)
        return symbols.engines[name] if url is None else EngineSpec("llm", url)


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
