"""What guesses may waste: a share of what was useful, in tokens and in seconds of tools.

A guess begins while none is under way and no more than the share was wasted; or where, if all that
are under way were wrong, no more than the share would be wasted. So at any time

    wasted <= share * useful + one guess        (of seconds, and ALLOWED_S)

for each app over all its queries in a process, and for each query alone.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from backends.base import Usage

ALLOWED_S = 0.1  # of tools, whatever was useful: a pure function of microseconds is no waste
MAX_APPS = 1024
CHARS_PER_TOKEN = 4  # of a prompt that no engine has counted, about


@dataclass(frozen=True, slots=True)
class Cost:
    """What was computed, or may be."""

    tokens: float = 0.0  # prefilled and decoded
    seconds: float = 0.0  # of tools

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens + other.tokens, self.seconds + other.seconds)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens - other.tokens, self.seconds - other.seconds)


NOTHING = Cost()


@dataclass(slots=True)
class Spending:
    """What an app, or a query, computed: for use, on wrong guesses, and on guesses under way."""

    useful: Cost = NOTHING
    wasted: Cost = NOTHING
    open: dict[object, Cost | None] = field(default_factory=dict)  # None: how much is not known

    def may_begin(self, share: float, most: Cost | None) -> bool:
        """Whether a guess that costs at most so much keeps to the share."""
        tokens = share * self.useful.tokens - self.wasted.tokens
        seconds = share * self.useful.seconds + ALLOWED_S - self.wasted.seconds
        if not self.open:
            return tokens >= 0 and seconds >= 0
        whole = most
        for each in self.open.values():
            if whole is None or each is None:
                return False
            whole += each
        return whole is not None and whole.tokens <= tokens and whole.seconds <= seconds


class GuessBudget:
    """Of one query: what it spends counts for its app too."""

    def __init__(self, share: float, of_app: Spending) -> None:
        self._share = share
        self._own = Spending()
        self._both = (self._own, of_app)

    def begin(self, guess: object, most: Cost | None) -> bool:
        """Whether a guess that costs at most so much may begin; then it is under way."""
        if not all(each.may_begin(self._share, most) for each in self._both):
            return False
        for each in self._both:
            each.open[guess] = most
        return True

    def end(self, useful: Cost, wasted: Cost) -> None:
        """So much of a guess was taken, and so much was not."""
        for each in self._both:
            each.useful += useful
            each.wasted += wasted

    def close(self, guess: object) -> None:
        """Nothing of it runs any more."""
        for each in self._both:
            each.open.pop(guess, None)

    def used(self, cost: Cost) -> None:
        """The query computed so much for use."""
        for each in self._both:
            each.useful += cost


class Spendings:
    """By app, over all queries of a process."""

    def __init__(self) -> None:
        self._apps: OrderedDict[str, Spending] = OrderedDict()  # least recently used first

    def of(self, app: str) -> Spending:
        """What the app spent."""
        found = self._apps.setdefault(app, Spending())
        self._apps.move_to_end(app)
        if len(self._apps) > MAX_APPS:
            self._apps.popitem(last=False)
        return found


def cost_of(usage: Usage, seconds: float = 0.0) -> Cost:
    """Of what an engine computed."""
    return Cost(float(usage.prefill_tokens + usage.decode_tokens), seconds)
