"""A team is an app: it is called like an agent, runs, streams and nests like any app."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from frontend_dsl.agents.task import task_text
from frontend_dsl.app import App
from frontend_dsl.app_function import AppFunction
from frontend_dsl.callables import is_coroutine_function
from frontend_dsl.components import Component, Composed
from frontend_dsl.errors import DefinitionError
from frontend_dsl.inlining import inline
from frontend_dsl.outside import runner_for
from frontend_dsl.program import RunOptions
from frontend_dsl.reads import Reads
from frontend_dsl.signature import MISSING, AppParameter
from frontend_dsl.where import user_frame, user_module

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # as of an agent: a team may be a tool


class Team(App[..., T], Composed):
    """Agents that work together: `team("Write about SQLite.", audience="children")`.

    It takes what an agent takes, texts and `name: value` context, and may stand where an agent may:
    in other teams, in apps, and as a tool.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Any],
        run: Callable[..., Any],
        description: str = "",
        *,
        also: Sequence[Any] = (),  # what the team calls beside its members: a merge, a model
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problem = f"the name of a team has letters, digits, _ and -; got {name!r}"
            raise DefinitionError(problem, *user_frame())
        self.members = tuple(members)
        self.description = description
        self.__doc__ = description or f"A team: {', '.join(each.name for each in members)}."
        module = user_module()
        self.__module__ = str(module.get("__name__"))
        task = AppParameter("task", str, MISSING, is_static=False)
        is_async = is_coroutine_function(run)
        call = self.__wrapped__ = partial(_run, run, self.members, tuple(also))
        function = AppFunction(call, name, is_async, False, (task,), user_frame(), module=module)
        self._begin(function, lambda: runner_for(f"the team {name}"), RunOptions())

    def __repr__(self) -> str:
        return f"Team({self.name!r}: {', '.join(each.name for each in self.members)})"

    def components(self) -> Iterable[Component]:
        """Those of all members."""
        return Reads(self._app_function.call).components.values()

    def _received(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[AppFunction, tuple[Any, ...], Mapping[str, Any]]:
        said = (task_text(self.name, args, kwargs),) if args or kwargs else ()
        return self._app_function, said, {}

    def _inline(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        text = task_text(self.name, args, kwargs)
        return inline(self._app_function, (text,), {}, self.options, self._nested)


def _run(run: Callable[..., Any], members: Any, also: Any, task: str) -> Any:  # noqa: ARG001
    return run(members, task)
