"""What notebooks show of an app: how it is called, and its calls drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from frontend_dsl.declared_types import type_name
from frontend_dsl.errors import TraceError
from frontend_dsl.signature import MISSING, AppParameter, ArgumentError

if TYPE_CHECKING:
    from frontend_dsl.app import App


def app_bundle(app: App[..., Any]) -> dict[str, str]:
    """By MIME type. Without a drawing where the graph depends on arguments, or on the run."""
    text = signature_text(app)
    if app.is_async:
        return {"text/plain": f"{text}\n(its graphs come to be while it runs)"}
    from graph_opt.draw import to_outline, to_svg  # late: apps are mostly run, not looked at

    try:
        graph = app.graph()
    except ArgumentError as error:
        return {"text/plain": f"{text}\n(to see it drawn: {app.name}.graph(...); {error})"}
    except TraceError as error:
        return {"text/plain": f"{text}\n{error}"}
    return {
        "text/plain": f"{text}\n{to_outline(graph)}",
        "image/svg+xml": to_svg(graph, by_call=True),
    }


def signature_text(app: App[..., Any]) -> str:
    """`async app rag(question: str, n: int = 3)`."""
    kind = "async app" if app.is_async else "app"
    return f"{kind} {app.name}({', '.join(map(_parameter, app.parameters))})"


def _parameter(parameter: AppParameter) -> str:
    typed = f"{parameter.name}: {type_name(parameter.type)}"
    return typed if parameter.default is MISSING else f"{typed} = {parameter.default!r}"
