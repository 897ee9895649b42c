"""Guesses stay on while they pay, rest while they do not, and cost little to try. Virtual seconds:
a step takes 10 ms and 4 ms more for the rows of guesses."""

from dataclasses import dataclass, field

import pytest

from backends.llm.speculation.controller import CLIP, REFRESH, SHARE, TRIAL, SpeculationController

PLAIN_S, GUESSED_S = 0.010, 0.014


@dataclass
class Engine:
    """One decode that guesses whenever it may."""

    controller: SpeculationController = field(default_factory=SpeculationController)
    elapsed_s: float = 0.0
    num_tokens: int = 0
    num_guessed: int = 0

    def run(self, num_steps: int, num_accepted: float, guessed_s: float = GUESSED_S) -> None:
        for _ in range(num_steps):
            if self.controller.wants_guesses(1):
                self.controller.note_guessed(1, 100, num_accepted, guessed_s)
                self.elapsed_s += guessed_s
                self.num_tokens += 1 + num_accepted
                self.num_guessed += 1
            else:
                self.controller.note_plain(1, 100, PLAIN_S)
                self.elapsed_s += PLAIN_S
                self.num_tokens += 1

    @property
    def slowdown(self) -> float:
        return self.elapsed_s / (self.num_tokens * PLAIN_S)


def test_guesses_that_come_true_stay_on() -> None:
    engine = Engine()
    engine.run(200, num_accepted=2)
    assert engine.controller.is_on
    assert engine.num_guessed > 0.95 * 200
    assert engine.slowdown < 0.5


def test_guesses_that_never_come_true_are_turned_off() -> None:
    engine = Engine()
    engine.run(20, num_accepted=0)
    assert not engine.controller.is_on
    assert engine.num_guessed == TRIAL
    engine.run(2000, num_accepted=0)
    assert engine.slowdown < 1 + 1.5 * SHARE


@pytest.mark.parametrize("cost", [1.05, 1.4, 2.4, 10.0])
def test_trials_cost_a_small_share_of_the_time(cost: float) -> None:
    engine = Engine()
    engine.run(5000, num_accepted=0, guessed_s=cost * PLAIN_S)
    measured = min(cost, CLIP) - 1
    assert engine.slowdown - 1 < 1.5 * SHARE * max(1.0, (cost - 1) / measured)
    assert engine.num_guessed > TRIAL  # it tries again


def test_guesses_go_off_when_they_stop_paying_and_come_back() -> None:
    engine = Engine()
    engine.run(100, num_accepted=2)
    engine.run(40, num_accepted=0)
    assert not engine.controller.is_on
    engine.run(400, num_accepted=2)
    assert engine.controller.is_on


def test_a_gain_within_the_margin_turns_nothing_on_but_a_loss_turns_off() -> None:
    engine = Engine()
    engine.run(50, num_accepted=0.41)  # saves 1 % of the time
    assert not engine.controller.is_on
    other = Engine()
    other.run(50, num_accepted=1)
    other.run(50, num_accepted=0.41)
    assert other.controller.is_on


def test_plain_steps_are_measured_again_now_and_then() -> None:
    engine = Engine()
    engine.run(10 * REFRESH, num_accepted=2)
    assert engine.num_guessed <= 10 * REFRESH - 9


def test_a_new_batch_size_is_measured_first() -> None:
    engine = Engine()
    engine.run(50, num_accepted=2)
    assert not engine.controller.wants_guesses(8)
    engine.controller.note_plain(8, 800, 0.02)
    assert engine.controller.wants_guesses(8)


def test_one_disturbed_step_does_not_decide() -> None:
    engine = Engine()
    engine.run(100, num_accepted=3)
    engine.run(1, num_accepted=3, guessed_s=5.0)
    assert engine.controller.is_on


def test_reading_prompts_counts_while_guesses_are_on() -> None:
    engine = Engine()
    engine.run(50, num_accepted=1)
    for _ in range(30):
        engine.controller.note_catch_up(0.02)  # more than a token saves
        engine.run(1, num_accepted=1)
    assert not engine.controller.is_on


def test_reading_prompts_for_answers_that_end_before_a_guess_is_rested_for() -> None:
    """Each new sequence is read by the draft for 0.2 s, and ends after five tokens."""
    controller, elapsed_s, read_s = SpeculationController(), 0.0, 0.0
    for step in range(20_000):
        if step % 5 == 0 and controller.wants_guesses(1):
            controller.note_catch_up(0.2)
            read_s += 0.2
        controller.note_plain(1, 100, PLAIN_S)
        elapsed_s += PLAIN_S
    assert 0 < read_s < 1.5 * SHARE * elapsed_s
