"""One HTML file with everything in it. Its policy allows the script and style that stand in it, by
their hashes, and no request to anywhere; the trace is JSON in it, and text on the screen."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from teola.viewer.reading import TraceFile
from teola.viewer.web.content import file_content
from teola.viewer.web.difference import difference

SCRIPTS = (
    *("dom", "model", "window", "rows", "activity"),
    *("waterfall", "row", "bars", "moves"),
    *("drawing", "details", "header", "tables", "differences", "main"),
)
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def web_page(named: Sequence[tuple[str, TraceFile]]) -> str:
    """The page of one trace file, or of two beside each other."""
    content = {
        "files": [file_content(name, file) for name, file in named],
        "difference": difference(named[0][1], named[1][1]) if len(named) == 2 else None,
    }
    style = _asset("page.css")
    scripts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{scripts}}})();\n'
    return _asset("page.html").format(
        policy=_policy(script, style),
        title=escape(" | ".join(name for name, _ in named)),
        style=style,
        content=_json(content),
        script=script,
    )


def _asset(name: str) -> str:
    return files("teola.viewer.web").joinpath(name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    allowed = {"script-src": _hash(script), "style-src": _hash(style), "img-src": "data:"}
    parts = [f"{where} {what}" for where, what in allowed.items()]
    return "; ".join(["default-src 'none'", *parts, "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _json(content: Any) -> str:
    """JSON that no text inside can end: `<` and the like are escapes in it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
