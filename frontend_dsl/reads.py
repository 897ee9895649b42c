"""What the code of an app reads while it is traced: see `backends.tools.code_reads`."""

from typing import Any

from backends.tools.code_reads import CodeReads
from frontend_dsl.components import Component, Composed
from frontend_dsl.tools import Tool


class Reads(CodeReads):
    """The variables and components that an app names, through its prompts and inlined apps.

    Tools run their own code when the app runs, so they are not searched.
    """

    parts = (Component,)

    def __init__(self, function: Any) -> None:
        self.components: dict[int, Component] = {}
        self.makes_components = False  # the code calls LLM(...) itself
        super().__init__(function)

    def note(self, value: Any) -> bool:
        kind = type(value)
        if issubclass(kind, Component):
            self.components[id(value)] = value
        if issubclass(kind, Composed):
            self.components |= {id(component): component for component in value.components()}
        if issubclass(kind, type) and issubclass(value, Component):
            self.makes_components = True
        return not issubclass(kind, Tool)
