"""The page of a trace as HTML, with colours; and as text."""

import io

from rich.console import Console

from teola.viewer.model import Trace
from teola.viewer.page import page

WIDTH = 110
LIMIT = 20  # primitives of an engine
_FORM = (
    '<pre style="font-family:monospace;line-height:1.25;background:#ffffff;color:#111827;'
    'padding:8px;overflow-x:auto">{code}</pre>'
)


def bundle(*traces: Trace, warning: str = "") -> dict[str, str]:
    """By MIME type, for notebooks."""
    console = Console(
        record=True, file=io.StringIO(), width=WIDTH, markup=False, emoji=False, highlight=False
    )
    for number, trace in enumerate(traces):
        if number:
            console.print()
        console.print(page(trace, WIDTH, limit=LIMIT))
    if warning:
        console.print(f"\nwarning: {warning}", style="yellow")
    return {
        "text/plain": console.export_text(clear=False),
        "text/html": console.export_html(inline_styles=True, code_format=_FORM),
    }
