"""What follows a turn of a model in the runs of an app: which calls and prompts, with what values.

    turn 1 of %guide.turn -> call weather(the line `city` of the task)
                          -> a prompt: "You book trains." (always), then the task, then ...

A value is told by where it comes from: it is always the same, or equal to a value that the run has
by then, as its task, a line of it, or the result of a call. Of several explanations those stay
that were true whenever one was.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import copysign
from typing import Any

from runtime.branch_history import LIKELY, MIN_SEEN, WEIGHT
from runtime.guess_budget import Cost

MAX_TURNS = 1024  # of all apps, that are remembered
MAX_STEPS = 16  # behind one turn
MAX_VALUES = 512  # of one run
MAX_CHARS = 20_000  # of a text that is looked for
MAX_LINES = 32
MIN_TOKENS = 16  # of a prompt, a page of KV: a cache keeps no less
TRY_EACH = 8  # of the guesses that would save less, one tells whether that is still so

Source = tuple[Hashable, ...]
IS = "is"  # ("is", the value's key): always the same


class Known:
    """The values of one run by names that are alike in each run."""

    def __init__(self) -> None:
        self._values: dict[Source, Any] = {}
        self._names: dict[Hashable, list[Source]] = {}

    def note(self, name: Source, value: Any) -> None:
        """The run has a value; of a text also each line, and what stands behind `name:`."""
        self._note(name, value)
        if not isinstance(value, str) or len(value) > MAX_CHARS:
            return
        for number, line in enumerate(value.splitlines()[:MAX_LINES]):
            self._note((*name, number), line)
            word, colon, rest = line.partition(": ")
            if colon:
                self._note((*name, word), rest)

    def sources(self, value: Any) -> frozenset[Source]:
        """All that it may come from."""
        key = key_of(value)
        return frozenset([(IS, key), *self._names.get(key, ())])

    def resolved(self, sources: Iterable[Source]) -> tuple[Any, ...]:
        """The value, alone in a tuple, if its explanations agree; else nothing."""
        found = {}
        for source in sources:
            if source[0] == IS:
                found[source[1]] = source[1][1]  # type: ignore[index]
            elif source in self._values:
                value = self._values[source]
                found[key_of(value)] = value
        return tuple(found.values()) if len(found) == 1 else ()

    def _note(self, name: Source, value: Any) -> None:
        self._put(name, value)
        if isinstance(value, str):  # as it stands in prompts, behind a word
            self._put((*name, " "), f" {value}")

    def _put(self, name: Source, value: Any) -> None:
        if is_plain(value) and name not in self._values and len(self._values) < MAX_VALUES:
            self._values[name] = value
            self._names.setdefault(key_of(value), []).append(name)


def is_plain(value: Any) -> bool:
    """Whether it can be compared and used again: it never changes."""
    if isinstance(value, str):
        return len(value) <= MAX_CHARS
    return value is None or type(value) in (int, float, bool)


def key_of(value: Any) -> Hashable:
    """Equal for values that are the same to everybody: 0.0 is not -0.0."""
    return (type(value), value, isinstance(value, float) and copysign(1, value))


@dataclass(slots=True, eq=False)
class Slot:
    """One value of a step."""

    sources: frozenset[Source]  # what may explain it
    share: float = 1.0  # of the times that one of them did, recently
    num_seen: int = 1

    def note(self, sources: frozenset[Source]) -> None:
        """It came again, and may come from these."""
        both = self.sources & sources
        self.share += WEIGHT * (bool(both) - self.share)
        self.num_seen += 1
        if both:
            self.sources = both
        elif self.share < 0.5:
            self.sources, self.share, self.num_seen = sources, 1.0, 1

    @property
    def is_known(self) -> bool:
        return self.num_seen >= MIN_SEEN and self.share >= LIKELY


@dataclass(slots=True, eq=False)
class Step:
    """A call or a prompt that follows a turn, as it was seen last."""

    key: Hashable  # what it is, without its values
    like: Any  # what is needed to make it again
    slots: list[Slot]
    share: float = 1.0  # of the turns behind which it came, recently
    num_seen: int = 1
    most: Cost | None = None  # that a guess of it cost
    num_pauses: int = 0  # so often it is not guessed

    def note(self, key: Hashable, slots: Sequence[frozenset[Source]]) -> None:
        """It, or another one, came in its place."""
        is_same = key == self.key
        self.share += WEIGHT * (is_same - self.share)
        self.num_seen += 1
        if is_same:
            del self.slots[len(slots) :]
            for slot, sources in zip(self.slots, slots, strict=False):
                slot.note(sources)

    def cost(self, cost: Cost) -> None:
        """A guess of it cost so much."""
        most = self.most or cost
        self.most = Cost(max(most.tokens, cost.tokens), max(most.seconds, cost.seconds))

    def gave(self, tokens: float) -> None:
        """A guess of it came true, and saved so much: if that is nothing, it waits for a while."""
        self.num_pauses = 0 if tokens >= MIN_TOKENS else TRY_EACH

    def may_try(self) -> bool:
        """Whether it is time to guess it."""
        self.num_pauses = max(0, self.num_pauses - 1)
        return not self.num_pauses

    @property
    def is_likely(self) -> bool:
        return self.num_seen >= MIN_SEEN and self.share >= LIKELY

    @property
    def known_slots(self) -> list[frozenset[Source]]:
        """Those from the first on that were explained often enough."""
        known = takewhile(lambda slot: slot.is_known, self.slots)
        return [slot.sources for slot in known]


class StepHistory:
    """Over all runs of a process."""

    def __init__(self) -> None:
        self._turns: OrderedDict[Hashable, list[Step]] = OrderedDict()  # least recently seen first

    def likely(self, turn: Hashable) -> list[Step]:
        """What is likely to follow a turn, in order."""
        found = []
        for step in self._turns.get(turn, ()):
            if not step.is_likely:
                break
            found.append(step)
        return found

    def note(
        self,
        turn: Hashable,
        number: int,
        key: Hashable,
        like: Any = None,
        slots: Sequence[frozenset[Source]] = (),
    ) -> None:
        """What came behind a turn, the first with the number 0; with the key None, nothing."""
        steps = self._turns.setdefault(turn, [])
        self._turns.move_to_end(turn)
        if len(self._turns) > MAX_TURNS:
            self._turns.popitem(last=False)
        if number < len(steps):
            step = steps[number]
            step.note(key, slots)
            if key == step.key:
                step.like = like
            elif step.share < 0.5 and key is not None:
                steps[number] = _first(key, like, slots)
        elif number == len(steps) < MAX_STEPS and key is not None:
            steps.append(_first(key, like, slots))


def _first(key: Hashable, like: Any, slots: Sequence[frozenset[Source]]) -> Step:
    return Step(key, like, [Slot(sources) for sources in slots])
