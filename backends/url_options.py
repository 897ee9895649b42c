"""Options behind the `?` of an engine's URL, for where there is a URL only (`--engine NAME=URL`).

    local:smollm2-135m?threads=2          process:local:smollm2-135m?instances=2&hedge_s=p95
    process:local:a?threads=1|teola://gpu1:30000|?routing=least_loaded&retries=4

Of several instances each has its own, and what stands behind the last `|` holds for all. A value is
JSON or else a text. URLs of servers and of emulated engines read theirs themselves.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from backends.errors import ConfigError

BETWEEN_INSTANCES = "|"  # in a URL that names several engines of one model
_KINDS = ("llm", "embedder", "reranker")
_SCHEMES = ("local", "hf", "process")


def split_url(kind: str, url: str, options: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The URL without its options, and all options. Raises ConfigError for one that is said
    twice."""
    bare, query = _parts(url) if kind in _KINDS else (url, "")
    if not query:
        return bare, options
    own = options_in(query, url)
    for name in own.keys() & options.keys():
        raise ConfigError(f"{url!r} says {name}, and so does an option: leave one out")
    return bare, {**own, **options}


def options_in(query: str, url: str) -> dict[str, Any]:
    """What stands behind the `?` of a URL. Raises ConfigError for a name that comes twice, and for
    a word without a value."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ConfigError(f"{url!r}: behind a ? stand options, like ?threads=2&seed=1") from None
    found = {name: json_or_text(value) for name, value in pairs}
    if len(found) < len(pairs):
        raise ConfigError(f"{url!r} says something twice after its ?")
    return found


def json_or_text(value: str) -> Any:
    """The value of an option in a URL."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def instances_in(url: str) -> list[str]:
    """The URLs of the engines that a URL names, each with its own options."""
    return [one for one in url.split(BETWEEN_INSTANCES) if not one.startswith("?")]


def without_options(url: str) -> str:
    """The URL of an LLM, embedder or reranker alone."""
    return _parts(url)[0]


def _parts(url: str) -> tuple[str, str]:
    """The URL, and its options."""
    if BETWEEN_INSTANCES in url:
        front, _, last = url.rpartition(BETWEEN_INSTANCES)
        return (front, last[1:]) if last.startswith("?") else (url, "")
    scheme, _, rest = url.partition(":")
    if scheme not in _SCHEMES or Path(rest).expanduser().exists():  # a path may have a ? in it
        return url, ""
    bare, _, query = url.partition("?")
    return bare, query
