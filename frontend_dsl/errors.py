"""What the tracer raises when an app cannot be turned into a graph."""

import linecache

from frontend_dsl.markers import without_sign
from graph_opt.errors import GraphError


class TraceError(GraphError):
    """An app or prompt function is written in a way that cannot be traced; shows the line."""

    def __init__(self, problem: str, file: str, line: int) -> None:
        source = linecache.getline(file, line).strip()
        shown = f"\n    {source}" if source else ""
        super().__init__(f"{file}:{line}: {without_sign(problem)}{shown}")
        self.problem = problem
        self.file = file
        self.line = line


class SymbolicError(TraceError):
    """A value that is only known when the app runs was used as if it were known now."""


class VariableError(TraceError):
    """A semantic variable that no call fills, that is filled twice, or that is made from itself."""


class DefinitionError(TraceError, TypeError):
    """What is decorated cannot be an app, a prompt or a tool: its form does not allow it."""
