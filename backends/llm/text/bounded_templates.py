"""Jinja templates in a sandbox whose renderings end: turns of loops and calls are counted.

The sandbox bounds what a template reaches, not for how long it runs, and a chat template comes with
a model's file, from anyone.
"""

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from itertools import count
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_STEPS = 50_000  # a fraction of a second; templates take some hundreds a conversation

_COUNTED = "teola_counted"  # a filter
_steps: ContextVar[Iterator[int]] = ContextVar("steps of this rendering")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Its templates are rendered by `render_bounded`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters[_COUNTED] = _counted

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(
                loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno, environment=self
            )
        return tree

    def call(__self, __context: Context, __called: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        _count()
        return super().call(__context, __called, *args, **kwargs)


def render_bounded(template: Template, **values: Any) -> str:
    """Raises what the template raises, and TemplateError for one that does not end."""
    token = _steps.set(count(1))
    try:
        return template.render(**values)
    except RecursionError as error:
        raise TemplateError("the chat template calls itself without an end") from error
    finally:
        _steps.reset(token)


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _count()
        yield item


def _count() -> None:
    if next(_steps.get()) > MAX_STEPS:
        raise TemplateError(
            f"the chat template takes more than {MAX_STEPS} turns of its loops and calls: "
            "does it end?"
        )
