"""What the user names to say which engine does the work: LLM, Embedder, Reranker, Store.

A component is light: it holds a URL and options. The engine behind it is made when an app first
runs, and shared by every component that asks for the same one.
"""

import copy
from collections.abc import Iterable
from typing import Any, NoReturn

from backends.base import Kind
from backends.errors import ConfigError
from backends.registry import EngineSpec, check_scheme
from frontend_dsl.errors import SymbolicError, TraceError
from frontend_dsl.fusion_option import check_fusion
from frontend_dsl.marked_texts import is_mangled, is_symbolic
from frontend_dsl.where import user_frame

SAMPLING = ("temperature", "max_tokens", "top_p", "top_k", "stop")  # of a prompt, of no engine


class Component:
    """A URL and options. Raises ConfigError at once for a scheme that nobody serves."""

    kind: Kind

    def __init__(self, url: str, *, name: str | None = None, **options: Any) -> None:
        if is_symbolic([url, options]) or is_mangled(url):
            problem = "an engine's URL and options must be known now, and hold a value of the run"
            raise SymbolicError(f"{problem}; make it outside of the app", *user_frame())
        check_scheme(self.kind, url)
        self.name = name
        self.spec = EngineSpec(self.kind, url, options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec.url!r})"


class Composed:
    """What an app may call that is made of components, as an agent is."""

    def components(self) -> Iterable[Component]:
        """Those whose engines a call may run on."""
        raise NotImplementedError


class LLM(Component):
    """A language model: `LLM("local:smollm2-135m")`, `LLM("local:/models/qwen.gguf")`.

    `name` is what `--engine NAME=URL` overrides; by default the variable that holds it. `fusion`
    is how its prompts read the KV of joined items (`tl.join`) that other prompts had in other
    places: "auto", a plan like "query(0.15)", or "exact"; without it, joins that say so are
    "auto". Other keyword arguments are the engine's options (`dtype=`, `device=` ...).
    """

    kind = "llm"
    adapter: str | None = None  # None: the model as it is
    fusion: str | None = None  # None: as joins and the app say

    def __init__(
        self, url: str, *, name: str | None = None, fusion: str | None = None, **options: Any
    ) -> None:
        for option in SAMPLING:
            if option in options:
                raise ConfigError(
                    f"{option}= is no option of a model: it belongs to a prompt, as in "
                    f"@tl.prompt(llm, {option}={options[option]!r})"
                )
        if fusion is not None:
            _check_fusion(fusion)
        super().__init__(url, name=name, **options)
        self.fusion = fusion

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """A model is not called itself. Raises TraceError."""
        problem = (
            f"{self!r} is called like a function: write a prompt function, `@tl.prompt(llm)` above "
            "a `def` that returns the prompt, and call that in a @tl.app"
        )
        raise TraceError(problem, *user_frame())

    def with_adapter(self, adapter: str) -> "LLM":
        """The same model and engine, answering through one of its LoRA adapters.

        `LLM("local:smollm2-135m", adapters={"calls": "path/to/peft"}).with_adapter("calls")`
        """
        adapted = copy.copy(self)
        adapted.adapter = adapter
        return adapted


def _check_fusion(fusion: object) -> None:
    try:
        check_fusion(fusion, "fusion= of a model")
    except ValueError as error:
        raise ConfigError(str(error)) from None


def no_llm(given: object, decorator: str = "") -> str:
    """What somebody gave where an LLM stands, and what to write."""
    made = "llm = tl.LLM(...)"
    write = f"write {decorator}(llm), with {made}" if decorator else f"make one, {made}"
    if given is None:
        return f"None: {write}"
    if isinstance(given, str) and ":" in given:
        return f"{given!r}: write tl.LLM({given!r})"
    if isinstance(given, Component):
        return f"{given!r}: that is an engine of another kind"
    name = getattr(given, "__name__", None)
    return f"{given!r}: {write}" if name is None else f"{name}(): {write}"


class Embedder(Component):
    """A text embedding model: `Embedder("local:all-minilm-l6-v2")`."""

    kind = "embedder"


class Python(Component):
    """Where tools and other Python functions run."""

    kind = "python"


PYTHON = Python("python:", name="python")
