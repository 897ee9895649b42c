"""`emulated:[Nx]DEVICE/MODEL[?option=value&...]` to an engine, not yet started."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from backends.base import Engine
from backends.emulated.descriptions import device_of, names_in, shape_of
from backends.emulated.events.engine import EventLLM
from backends.emulated.events.options import EventOptions
from backends.emulated.instances import EmulatedEngine, Instances
from backends.emulated.llm import EmulatedLLM
from backends.emulated.options import EmulatedLLMOptions, EmulatedOptions, EmulatedTextOptions
from backends.emulated.roofline import Roofline
from backends.emulated.text_engine import EmulatedTextEngine, text_info
from backends.emulated.traces import read_trace
from backends.errors import ConfigError, EngineUnavailable
from backends.llm.options import check_read
from backends.models.fetch import resolve
from backends.optional import optional_imports
from backends.options import read_options
from backends.tools.passage_tokens import Counting
from backends.url_options import json_or_text

_INSTANCES = re.compile(r"(?P<count>[1-9]\d?)x(?P<device>[a-z].*)")
_USUAL_TOKENIZER = "local:all-minilm-l6-v2"  # English BERTs share its vocabulary


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """Raises ConfigError for unknown names, wrong files or options, and a model that does not fit
    its device."""
    where = f"{kind} engine {url!r}"
    url, _, query = url.partition("?")
    options = {**options, **options_in(query)}
    count, one = instances_in(url)
    if count == 1:
        return _create_one(kind, one, options, where)
    if options.get("device"):
        raise ConfigError(f"{where}: {count} instances cannot share the device of one name")
    return Instances(url, [_create_one(kind, one, options, where) for _ in range(count)])


def instances_in(url: str) -> tuple[int, str]:
    """How many engines a URL names, and the URL of each: `emulated:2xh100/MODEL` is two."""
    scheme, _, rest = url.partition(":")
    match = _INSTANCES.fullmatch(rest)
    return (1, url) if match is None else (int(match["count"]), f"{scheme}:{match['device']}")


def _create_one(kind: str, url: str, options: Mapping[str, Any], where: str) -> EmulatedEngine:
    recording = options.get("recording")
    if isinstance(recording, str) and not Path(recording).expanduser().is_file():
        raise ConfigError(f"{where}: there is no recording {recording}")
    if kind == "llm" and options.get("detail") == "events":
        return _create_of_events(url, options, where)
    if kind == "llm":
        settings = read_options(EmulatedLLMOptions, where, options)
        check_read(settings.of_core())
        if settings.lengths is not None:
            read_trace(settings.lengths)  # what is wrong with it is told before the engine starts
        roofline = _roofline(kind, url, settings, settings.kv_dtype)
        settings, kv_tokens = settings.on(roofline.device), roofline.kv_tokens(where)
        return EmulatedLLM(url, roofline, settings.kv_tokens or kv_tokens, settings)
    own = read_options(EmulatedTextOptions, where, options)
    roofline = _roofline(kind, url, own, "bfloat16")
    return EmulatedTextEngine(text_info(kind, url, own), roofline, own)


def _create_of_events(url: str, options: Mapping[str, Any], where: str) -> EventLLM:
    settings = read_options(EventOptions, where, options)
    if settings.lengths is not None:
        read_trace(settings.lengths)
    roofline = _roofline("llm", url, settings, settings.kv_dtype)
    return EventLLM(url, roofline, settings.kv_tokens or roofline.kv_tokens(where), settings)


def _roofline(
    kind: str, url: str, options: EmulatedOptions | EventOptions, kv_dtype: Any
) -> Roofline:
    device_name, model_name = names_in(url)
    device, num_devices = device_of(options.device_file or device_name)
    shape = shape_of(options.model_file or model_name, kind)
    return Roofline(device, shape, options.dtype, kv_dtype, num_devices)


def splitting_of(url: str, options: Mapping[str, Any]) -> Counting:
    """For an embedder: the local one whose tokens count in its passages. It is the one named, else
    that of the recorded run, else the usual one if that is here. Raises ConfigError."""
    url, _, query = url.partition("?")
    _, url = instances_in(url)
    where = f"embedder engine {url!r}"
    settings = read_options(EmulatedTextOptions, where, {**options, **options_in(query)})
    with optional_imports("local"):
        from backends.bert.tokens import NUM_MARKS
    most_tokens = _roofline("embedder", url, settings, "bfloat16").shape.max_tokens - NUM_MARKS
    if settings.tokenizer is not None:
        return Counting(settings.tokenizer, most_tokens)
    if settings.recording is not None:
        from backends.emulated.recorded_split import recorded_counting  # late: tools

        if (recorded := recorded_counting(settings.recording)) is not None:
            return recorded
    try:
        resolve(_USUAL_TOKENIZER)
    except EngineUnavailable:
        return Counting(None, most_tokens)
    return Counting(_USUAL_TOKENIZER, most_tokens)


def options_in(query: str) -> dict[str, Any]:
    """Options behind the `?` of a URL; a value is JSON or else a string."""
    return {name: json_or_text(text) for name, text in parse_qsl(query, keep_blank_values=True)}
