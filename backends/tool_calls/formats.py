"""The formats, and which one a chat template writes."""

from backends.tool_calls.format import CallFormat
from backends.tool_calls.hermes import OPEN, HermesFormat
from backends.tool_calls.llama import LlamaFormat
from backends.tool_calls.mistral import ARGS, TAG, MistralFormat, NamedFormat

FORMATS: tuple[CallFormat, ...] = (HermesFormat(), LlamaFormat(), MistralFormat(), NamedFormat())


def format_of(call: str) -> CallFormat | None:
    """The format in which a template wrote a call; None for one that is not known here."""
    if OPEN in call and '"arguments"' in call:
        return HermesFormat()
    if TAG in call:
        return NamedFormat() if ARGS in call else MistralFormat()
    if '"name"' in call and '"parameters"' in call:
        return LlamaFormat()
    return None


def begins_call(content: str) -> bool:
    """Whether a turn without calls begins as one in some format: it was cut."""
    begins = [marker for form in FORMATS for marker in form.markers]
    return content.lstrip().startswith((*begins, '{"name": '))
