"""What follows a turn, and where its values come from."""

from runtime.step_history import MIN_TOKENS, TRY_EACH, Known, Step, StepHistory

TURN = ("app", "turn", 1)


def seen(history: StepHistory, known: Known, *values: object) -> None:
    history.note(TURN, 0, "call", None, [known.sources(value) for value in values])
    history.note(TURN, 1, None)


def task(text: str) -> Known:
    known = Known()
    known.note(("task",), text)
    return known


def guessed(history: StepHistory, known: Known) -> list[tuple[object, ...]]:
    (step,) = history.likely(TURN)
    return [known.resolved(slot) for slot in step.known_slots]


def test_a_value_is_constant_or_comes_from_the_run() -> None:
    history = StepHistory()
    for city in ("Rome", "Oslo", "Bonn"):
        assert not history.likely(TURN)
        seen(history, task(f"Weather?\ncity: {city}"), city, "celsius", 3)
    assert guessed(history, task("Weather?\ncity: Kiel")) == [("Kiel",), ("celsius",), (3,)]


def test_a_value_that_two_explanations_give_differently_is_not_guessed() -> None:
    history = StepHistory()
    for _ in range(3):
        seen(history, task("city: Rome"), "Rome")
    assert guessed(history, task("city: Rome")) == [("Rome",)]
    assert guessed(history, task("city: Oslo")) == [()]


def test_values_behind_one_that_changes_without_a_reason_are_not_known() -> None:
    history = StepHistory()
    for number in range(4):
        seen(history, task("go"), "first", f"random {number}", "last")
    assert guessed(history, task("go")) == [("first",)]


def test_an_explanation_that_fails_now_and_then_is_kept() -> None:
    history = StepHistory()
    for city in ("Rome", "Oslo", "Bonn", "Kiel"):
        seen(history, task(f"city: {city}"), city)
    seen(history, task("city: Rome"), "Roma")
    assert guessed(history, task("city: Genf")) == [("Genf",)]
    seen(history, task("city: Oslo"), "Christiania")
    assert guessed(history, task("city: Genf")) == []


def test_a_step_that_another_one_replaces_is_learnt_anew() -> None:
    history = StepHistory()
    for _ in range(4):
        history.note(TURN, 0, "one", None)
    for _ in range(12):
        history.note(TURN, 0, "two", None)
    (step,) = history.likely(TURN)
    assert step.key == "two"
    for _ in range(2):
        history.note(TURN, 0, None)
    assert not history.likely(TURN)


def test_a_step_whose_guess_saved_nothing_is_tried_now_and_then() -> None:
    step = Step("prompt", None, [])
    assert step.may_try()
    step.gave(MIN_TOKENS - 1)
    assert [step.may_try() for _ in range(TRY_EACH)] == [False] * (TRY_EACH - 1) + [True]
    step.gave(MIN_TOKENS)
    assert step.may_try()
