"""What was spent within the last minute: a sliding window, exact to the entry."""

from collections import deque
from dataclasses import dataclass

PERIOD_S = 60.0


@dataclass(slots=True, eq=False)
class Entry:
    """What was spent at one time."""

    at_s: float
    amount: float
    is_over: bool = False  # it has left the window


class Window:
    """An entry counts from its time on until a minute later, when it counts no more."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()  # by time
        self._used = 0.0

    def spend(self, amount: float, now_s: float) -> Entry:
        entry = Entry(now_s, amount)
        self._entries.append(entry)
        self._used += amount
        return entry

    def correct(self, entry: Entry, amount: float) -> None:
        """What was spent is known better now."""
        if not entry.is_over:
            self._used += amount - entry.amount
        entry.amount = amount

    def restart(self, now_s: float) -> None:
        """All that counts was spent only now."""
        for entry in self._entries:
            entry.at_s = now_s

    def used_at(self, at_s: float, now_s: float) -> float:
        """What of it still counts then."""
        self._forget(now_s)
        used = self._used
        for entry in self._entries:
            if entry.at_s + PERIOD_S > at_s:
                break
            used -= entry.amount
        return used

    def falls_at(self, most: float, now_s: float) -> float:
        """From when on no more than `most`, which is not negative, counts."""
        self._forget(now_s)
        used = self._used
        for entry in self._entries:
            if used <= most:
                break
            used -= entry.amount
            now_s = entry.at_s + PERIOD_S
        return now_s

    def _forget(self, now_s: float) -> None:
        while self._entries and self._entries[0].at_s + PERIOD_S <= now_s:
            entry = self._entries.popleft()
            entry.is_over = True
            self._used -= entry.amount
        if not self._entries:
            self._used = 0.0  # free of what rounding leaves behind
