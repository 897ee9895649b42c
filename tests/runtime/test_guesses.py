"""When prompts are computed ahead on a guess, and what is said of it."""

import pytest

from backends.base import Result, Usage
from backends.errors import EngineError, RequestAborted
from runtime.guesses import ENOUGH, MAX_JOBS, TRY_EACH, Guess, GuessHistory


def found(cached_tokens: int) -> Result:
    return Result((), Usage(prefill_tokens=5, cached_tokens=cached_tokens))


def wasted(guess: Guess, cached_tokens: int) -> int:
    outcome = guess.settled(found(cached_tokens))
    assert isinstance(outcome, Result)
    return outcome.usage.wasted_tokens


@pytest.mark.parametrize(
    ("computed", "cached", "later", "waste"),
    [
        (100, 0, 100, 0),
        (100, 0, 32, 68),
        (100, 16, 48, 68),  # what was there before it is none of its work
        (100, 48, 16, 100),  # evicted meanwhile
        (100, 0, 132, 0),  # others computed more of it
    ],
)
def test_what_the_prompt_did_not_find_was_wasted(
    computed: int, cached: int, later: int, waste: int
) -> None:
    usage = Usage(computed, cached)
    for outcome in (Result((), usage), RequestAborted(usage=usage)):
        guess = Guess(GuessHistory())
        guess.ended(outcome)
        assert wasted(guess, later) == waste


def test_what_was_never_begun_wastes_nothing() -> None:
    guess = Guess(GuessHistory())
    assert guess.settled(found(3)) == found(3)
    guess.ended(EngineError("broken"))
    assert guess.settled(found(3)) == found(3)
    guess.ended(Result((), Usage(100)))
    failed = EngineError("broken")
    assert guess.settled(failed) is failed


def test_it_is_begun_where_the_engine_has_room() -> None:
    history = GuessHistory()
    assert history.may_begin({"asked": True}, MAX_JOBS - 1)
    assert not history.may_begin({"asked": True}, MAX_JOBS)
    assert history.may_begin({}, 0)
    assert not history.may_begin({}, 1)


def test_unasked_it_stops_while_little_is_read_and_now_and_then_looks_again() -> None:
    history = GuessHistory()
    while history.may_begin({}, 0):
        guess = Guess(history)
        guess.ended(Result((), Usage(100)))
        guess.settled(found(10))
    begun = [history.may_begin({}, 0) for _ in range(2 * TRY_EACH)]
    assert sum(begun) == 2
    assert history.may_begin({"asked": True}, 0)
    for _ in range(10):
        history.note(1.0)
    assert all(history.may_begin({}, 0) for _ in range(TRY_EACH))
    assert ENOUGH < 1
