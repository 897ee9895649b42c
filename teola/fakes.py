"""`tl.fake`: models that say what a test wrote, inside a with-block."""

import json
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import replace
from itertools import count
from typing import Any

from backends.errors import ConfigError
from backends.fake.script import FakeCall, Replies, Script
from backends.registry import EngineSpec
from frontend_dsl.app import App
from frontend_dsl.components import Component
from frontend_dsl.engine_names import engines_read_by
from frontend_dsl.program import RunOptions

SWAPPED = ("llm", "embedder", "reranker", "store")  # tools run as they are

_active: ContextVar[tuple["fake", ...]] = ContextVar("teola_fakes", default=())
_instances = count(-1, -1)  # components count up from 1: each engine is one of its own


class fake:  # noqa: N801 - read as a verb: `with tl.fake(llm, {...}) as calls`
    """Swap engines for fake ones in all runs that start inside the block, agents' too.

    `with tl.fake(llm, {"capital of France": "Paris"}) as faked: ...`

    `target` is an LLM or another component, an app or agent (all its models and stores), the name
    of an engine, or None for the models and stores of every app. `replies` say what LLMs answer:
    a mapping from regular expressions, searched in the whole prompt, to replies (a list is given
    in order); a list of replies in order; a function of the prompt; or one reply for all.
    A reply is a text, a value (written as JSON), an exception to raise, or what
    `tl.fake.tool_call` gives. Without `replies` a made-up answer fits the form that is asked for.

    A prompt that no reply is for fails its run with errors.NoReply, which shows it. `calls` records
    what the LLMs were asked. The swap follows the context (`contextvars`): tasks and
    `asyncio.to_thread` take it along, other blocks at the same time do not see it; a bare
    `threading.Thread` runs in a context of its own. Of nested blocks the inner one goes first.
    """

    def __init__(
        self, target: Component | App[..., Any] | str | None = None, replies: Replies = None
    ) -> None:
        self.calls: list[FakeCall] = []
        self._names = {target} if isinstance(target, str) else set()
        self._keys = _keys_of(target)
        self._replies = replies
        self._specs: dict[str, EngineSpec] = {}  # by the key of what it stands for
        self._scripts: dict[str, Script] = {}
        self._token: Token[tuple[fake, ...]] | None = None
        Script("", replies, [])  # wrong patterns are told here

    @staticmethod
    def tool_call(name: str, /, **arguments: Any) -> str:
        """A reply in which the model calls a tool; add several up for parallel calls."""
        call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        return f"<tool_call>\n{call}\n</tool_call>"

    def __enter__(self) -> "fake":
        if self._token is not None:
            raise RuntimeError("this tl.fake(...) is in use already; make one for each block")
        self._token = _active.set((*_active.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None, "__enter__ sets it"
        _active.reset(self._token)
        self._token = None
        if self._specs:
            from teola.runner import default_runner

            default_runner().forget(self._specs.values())
            self._specs.clear()

    @property
    def prompts(self) -> list[str]:
        """The prompts of `calls`."""
        return [call.prompt for call in self.calls]

    def stand_in(self, name: str, spec: EngineSpec) -> EngineSpec | None:
        """What runs in place of an engine, if anything does."""
        if spec.kind not in SWAPPED:
            return None
        is_meant = self._keys is None and not self._names
        if not is_meant and name not in self._names and spec.key not in (self._keys or ()):
            return None
        return self._specs.setdefault(spec.key, self._made(spec))

    def _made(self, spec: EngineSpec) -> EngineSpec:
        options: dict[str, Any] = {}
        if spec.kind == "llm":
            script = Script(spec.url, self._replies, self.calls)
            options = {"replies": self._scripts.setdefault(spec.key, script)}
        return EngineSpec(spec.kind, "fake:", options, next(_instances), stands_for=spec)


def active_fakes() -> tuple[fake, ...]:
    """Those of the blocks around the caller, inner ones last."""
    return _active.get()


def with_stand_ins(
    engines: Mapping[str, EngineSpec], fakes: tuple[fake, ...]
) -> Mapping[str, EngineSpec]:
    """The engines as the blocks swap them."""
    return {name: _swapped(name, spec, fakes) for name, spec in engines.items()}


def _swapped(name: str, spec: EngineSpec, fakes: tuple[fake, ...]) -> EngineSpec:
    if spec.instance is not None and spec.instance < 0:  # of a block already, from the run around
        return spec
    found = (each.stand_in(name, spec) for each in reversed(fakes))
    return next((each for each in found if each is not None), spec)


def _keys_of(target: Any) -> set[str] | None:
    if isinstance(target, Component):
        return {target.spec.key}
    if isinstance(target, App):
        return {spec.key for spec in engines_read_by(target._app_function).values()}
    if target is None or isinstance(target, str):
        return None
    raise ConfigError(
        f"tl.fake takes a component (an LLM ...), an app, an engine's name or nothing; "
        f"got {target!r}"
    )


def with_fakes(options: RunOptions) -> RunOptions:
    """With the `tl.fake` blocks around the caller; a run inside another has that one's."""
    fakes = active_fakes()
    return replace(options, fakes=fakes) if fakes and not options.fakes else options
