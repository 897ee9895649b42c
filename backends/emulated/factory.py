"""`emulated:DEVICE/MODEL` to an engine, not yet started."""

from collections.abc import Mapping
from typing import Any

from backends.base import Engine
from backends.emulated.descriptions import device_of, names_in, shape_of
from backends.emulated.llm import EmulatedLLM
from backends.emulated.options import EmulatedLLMOptions, EmulatedOptions, EmulatedTextOptions
from backends.emulated.roofline import Roofline
from backends.emulated.text_engine import EmulatedTextEngine, text_info
from backends.options import read_options


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """Raises ConfigError for unknown names, wrong files or options, and a model that does not fit
    its device."""
    where = f"{kind} engine {url!r}"
    if kind == "llm":
        settings = read_options(EmulatedLLMOptions, where, options)
        roofline = _roofline(kind, url, settings, settings.kv_dtype)
        kv_tokens = roofline.kv_tokens(where)
        return EmulatedLLM(url, roofline, settings.kv_tokens or kv_tokens, settings)
    own = read_options(EmulatedTextOptions, where, options)
    roofline = _roofline(kind, url, own, "bfloat16")
    return EmulatedTextEngine(text_info(kind, url, own), roofline, own)


def _roofline(kind: str, url: str, options: EmulatedOptions, kv_dtype: Any) -> Roofline:
    device_name, model_name = names_in(url)
    device, num_devices = device_of(options.device_file or device_name)
    shape = shape_of(options.model_file or model_name, kind)
    return Roofline(device, shape, options.dtype, kv_dtype, num_devices)
