"""Text up to a stop string, released only when no stop string can still begin in it."""

from collections.abc import Sequence


class StopScanner:
    """Feed text in pieces; get back what is safe to show. Sets `found` at a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None  # the stop string that ended the text

    @property
    def is_stopped(self) -> bool:
        return self.found is not None

    def push(self, piece: str) -> str:
        """The text that may be shown now; nothing more once stopped."""
        if not self._stops:
            return piece
        if self.is_stopped:
            return ""
        text = self._held + piece
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            end, self.found = min(found)
            self._held = ""
            return text[:end]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back for a stop string that never came."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that ends `text`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
