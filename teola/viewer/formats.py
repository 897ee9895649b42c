"""Numbers and names as people read them."""

from backends.base import Usage


def seconds(value: float) -> str:
    """Three digits and a unit: `0.24 ms`, `35.1 ms`, `1.24 s`, `2 m 05 s`."""
    if value >= 60:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} m {rest:02d} s"
    if value < 0.000005:
        return "0 ms"
    number, unit = (value * 1000, "ms") if value < 0.9995 else (value, "s")
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f} {unit}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}%" if whole > 0 else "-"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 batch`, `1,204 tokens`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def tokens(usage: Usage) -> str:
    """`38 prefilled, 0 cached, 14 decoded tokens`, and what was fused or needed no work at all."""
    fused = f", {usage.fused_tokens:,} fused" if usage.fused_tokens else ""
    about = " (estimated)" if usage.estimated_tokens else ""
    wasted = f", {usage.wasted_tokens:,} wasted{about}" if usage.wasted_tokens else ""
    in_vain = f", {seconds(usage.wasted_s)} of tools wasted" if usage.wasted_s else ""
    known = f", {count(usage.remembered_items, 'item')} remembered"
    remembered = known if usage.remembered_items else ""
    return (
        f"{usage.prefill_tokens:,} prefilled, {usage.cached_tokens:,} cached{fused}{wasted}, "
        f"{usage.decode_tokens:,} decoded tokens{remembered}{in_vain}"
    )


def number_or_blank(number: int) -> str:
    return f"{number:,}" if number else ""
