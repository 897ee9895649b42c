"""`teola trace FILE --otlp` and `--chrome`: a trace for other tools."""

import sys
from pathlib import Path

from backends.optional import optional_imports
from teola.cli.failures import reported


def export_trace(path: Path, otlp: str | None, chrome: Path | None, debug: bool) -> None:
    """Send or write it; says on stderr what was done."""
    with reported(debug):
        if otlp is not None:
            with optional_imports("otel"):
                from teola.telemetry.saved import export_spans
            _say(f"{export_spans(path, otlp)} spans to {otlp}")
        if chrome is not None:
            from teola.telemetry.chrome import write_chrome

            _say(f"{write_chrome(path, chrome)} events to {chrome}: open it in ui.perfetto.dev")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
