"""Which endpoint a request goes to: the predicted time to its first token, with switchable terms.

    predicted = seconds a token
                x (tokens queued before + tokens of the prompt that are not cached + running work)
                + how late the endpoint is

Mooncake's rule (FAST 2025). The others are special cases: without the prefix it is join the
shortest queue by work; `prefix` is Preble's E2 (ICLR 2025), which exploits a cache that holds half
of the prompt and else explores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

RUNNING_TOKENS = 16.0  # prompt tokens whose time a running sequence takes from a prefill
FULL_TOKENS = 256.0  # prompt tokens that a KV pool half full counts as
NEAR = 1.05  # predictions that differ by less are alike
HOT_RATIO = 1.5  # an endpoint with so much more work than the least is not exploited
HOT_TOKENS = 2048.0  # nor less than so much more


@dataclass(frozen=True, slots=True)
class View:
    """One endpoint as a request sees it."""

    prompt_tokens: float
    cached_tokens: float  # of the prompt, as far as that is known
    queued_tokens: float  # prompt tokens sent there, or waiting there, that are not computed
    num_running: float  # sequences that write, those of other clients too
    kv_usage: float  # 0 to 1
    late_s: float  # how much longer than expected something there takes
    token_s: float  # of a prompt


@dataclass(frozen=True, slots=True)
class Terms:
    """What counts in a prediction."""

    prefix: bool = True
    queue: bool = True
    load: bool = True


Choice = Callable[[Sequence[View], int], list[int]]  # views, turn -> places, the best first


def predicted_s(view: View, terms: Terms) -> float:
    """Seconds to the first token."""
    tokens = view.prompt_tokens - (view.cached_tokens if terms.prefix else 0.0)
    if terms.queue:
        tokens += view.queued_tokens
    if terms.load:
        tokens += RUNNING_TOKENS * view.num_running
        tokens += FULL_TOKENS * view.kv_usage / (1.001 - view.kv_usage)
    return tokens * view.token_s + (view.late_s if terms.queue else 0.0)


def by_prediction(terms: Terms) -> Choice:
    """The least predicted time first; equal ones in turn."""

    def choose(views: Sequence[View], turn: int) -> list[int]:
        predicted = [predicted_s(view, terms) for view in views]
        return _in_order(predicted, turn)

    return choose


def round_robin(views: Sequence[View], turn: int) -> list[int]:
    return _in_order([0.0] * len(views), turn)


def exploit_or_explore(views: Sequence[View], turn: int) -> list[int]:
    """Where at least half of the prompt is cached, unless that is hot; else where least waits."""
    order = least_loaded(views, turn)
    least = _work(views[order[0]])
    most_cached = max(view.cached_tokens for view in views)

    def is_exploited(place: int) -> bool:
        view = views[place]
        is_hot = _work(view) > max(HOT_RATIO * least, least + HOT_TOKENS)
        is_best = view.cached_tokens == most_cached and 2 * most_cached >= view.prompt_tokens
        return is_best and not is_hot and most_cached > 0

    return sorted(order, key=lambda place: not is_exploited(place))


def _work(view: View) -> float:
    return view.queued_tokens + RUNNING_TOKENS * view.num_running


def _in_order(keys: Sequence[float], turn: int) -> list[int]:
    """The least first; those that are about the least take turns."""
    count = len(keys)
    least = min(keys)
    near = NEAR * least
    rounded = [least if key <= near else key for key in keys]
    return sorted(range(count), key=lambda place: (rounded[place], (place - turn) % count))


least_loaded = by_prediction(Terms(prefix=False))

CHOICES: dict[str, Choice] = {
    "round_robin": round_robin,
    "least_loaded": least_loaded,
    "prefix": exploit_or_explore,
    "predicted_ttft": by_prediction(Terms()),
}
