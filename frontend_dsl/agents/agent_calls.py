"""What a call of an agent becomes: one prompt, or a session of turns and calls."""

import copy
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from backends.registry import EngineSpec
from frontend_dsl.agents.loop import Loop, Rules
from frontend_dsl.agents.memory import Memory
from frontend_dsl.agents.meter import Meter, current_meter, metered
from frontend_dsl.agents.results import AgentResult
from frontend_dsl.agents.talk import TURN, Talk
from frontend_dsl.agents.task import task_text
from frontend_dsl.app import App
from frontend_dsl.app_function import AppFunction
from frontend_dsl.breaks import run_of_async_app
from frontend_dsl.components import LLM, Component, Composed
from frontend_dsl.errors import TraceError
from frontend_dsl.forms import Form
from frontend_dsl.inlining import check_options
from frontend_dsl.messages import Message, turn_parts
from frontend_dsl.nested import NestedApp, Specs, emit_nested
from frontend_dsl.outside import runner_for
from frontend_dsl.program import Program, RunOptions
from frontend_dsl.recovery import limited
from frontend_dsl.signature import MISSING, AppParameter
from frontend_dsl.symbols import Symbols, replacing
from frontend_dsl.tracer import current, tracing
from frontend_dsl.where import user_frame
from frontend_dsl.writing import write
from graph_opt.graph import Json

T = TypeVar("T")

_READS: Mapping[str, Json] = {"pure": True, "reads": True}


class AgentCalls(App[..., T], Composed):
    """An agent as an app. Without tools and memory it is one prompt; a run is a session too."""

    llm: LLM
    instructions: str
    tools: tuple[Any, ...]
    memory: Memory | None
    _form: Form  # of the answer
    _rules: Rules
    _turn_sampling: Mapping[str, Json] | None  # of turns that may call tools

    def _place(self, name: str, module: Mapping[str, Any]) -> None:
        """Make it an app of the user's module."""
        is_session = bool(self.tools) or self.memory is not None
        call = self._converse if is_session else self._answer
        task = (AppParameter("task", str, MISSING, is_static=False),)
        function = AppFunction(call, name, is_session, False, task, user_frame(), module=module)
        options = RunOptions(is_agent=True)
        self._begin(function, lambda: runner_for(f"the agent {name}"), options)

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

    def _as_session(self) -> "AgentCalls[T]":
        """The agent whose function is the loop, also where a prompt would do."""
        if self.is_async:
            return self
        session = copy.copy(self)
        session._set_function(replace(self._app_function, call=self._converse, is_async=True))
        return session

    async def _converse(self, task: str) -> AgentResult[T]:
        result = await self._conversation(task, [("user", task)], Loop)
        if self.memory is not None:
            answers = [each.content for each in result.messages if each.role == "assistant"]
            await self.memory.keep(task, answers[-1])
        return result

    async def _conversation(
        self, task: str, turns: Sequence[tuple[str, str]], make_loop: type[Loop]
    ) -> AgentResult[T]:
        """What the loop makes of these turns, behind what is remembered."""
        run, meter = run_of_async_app(f"the agent {self.name}"), current_meter()
        sampling = self._turn_sampling or self._form.sampling
        talk = Talk(self.name, self.llm, self._rules.callees, sampling, is_native=meter.is_native)
        about, before = ("", []) if self.memory is None else await self.memory.recall(task)
        system = "\n\n".join(filter(None, [self.instructions, about]))
        loop = make_loop(self._rules, talk, run, meter)
        return await loop.result([*talk.open(system), *before, *turns])

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
