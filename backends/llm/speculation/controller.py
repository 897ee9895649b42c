"""The speculation controller: enables guesses while they save time, by measured step times.

    saved = time of the step's tokens in steps without guesses - time of the step

A trial runs some steps with guesses. If they saved time, guesses stay on until they no longer do;
if they lost time, guesses pause until the loss is a small share of the time since. The baseline
is steps with decodes only, which run while guesses pause and from time to time between guesses.
Uses only the step times passed in; reads no clock.
"""

from backends.llm.planner.latency import LatencyModel

TRIAL = 4  # guessed steps
GAIN = 0.03  # of the time, to stay on after a trial; they go off below 0
SHARE = 0.02  # of the time may be lost by trials
FADE = 0.9  # of a guessed step beside the next one
REFRESH = 32  # guessed steps between plain ones
REST = 32  # plain steps at least
READ = 32  # plain steps that reading prompts may take before a trial has come to an end
CLIP = 4.0  # plain steps: one that took longer was disturbed


class SpeculationController:
    """Of one engine."""

    def __init__(self) -> None:
        self.is_on = False  # guesses save time at present
        self._plain = LatencyModel()
        self._sizes: set[int] = set()  # of plain steps that were measured, as powers of two
        self._rest_s = 0.0  # left
        self._num_guessed = 0  # steps since the last plain one
        self._num_tried = 0
        self._saved_s = self._spent_s = 0.0  # exponentially faded sums
        self._read_s = 0.0  # since the last trial ended

    @property
    def is_resting(self) -> bool:
        return self._rest_s > 0

    def wants_guesses(self, num_decodes: int) -> bool:
        """For a step of so many decodes and nothing else."""
        return (
            num_decodes.bit_length() in self._sizes
            and not self.is_resting
            and self._num_guessed < REFRESH
        )

    def note_plain(self, num_decodes: int, num_keys: int, elapsed_s: float) -> None:
        """A step without guesses; `num_keys` are read by all its rows together."""
        size = num_decodes.bit_length()
        if size in self._sizes:
            elapsed_s = min(elapsed_s, CLIP * self._plain.step_s(num_decodes, num_keys))
        self._plain.observe(num_decodes, num_keys, elapsed_s)
        self._sizes.add(size)
        self._num_guessed = 0
        self._rest_s -= elapsed_s
        if self._read_s > READ * elapsed_s:
            self._stop(elapsed_s)

    def note_guessed(
        self, num_decodes: int, num_keys: int, num_accepted: int, elapsed_s: float
    ) -> None:
        """A step with guesses, keys of theirs not counted."""
        plain_s = self._plain.step_s(num_decodes, num_keys)
        elapsed_s = min(elapsed_s, CLIP * plain_s)
        self._add(plain_s * (1 + num_accepted / num_decodes) - elapsed_s, elapsed_s)
        self._num_guessed += 1
        self._num_tried += 1
        if self._num_tried >= TRIAL:
            self._judge(plain_s)

    def note_catch_up(self, elapsed_s: float) -> None:
        """Time that guesses need once for a prompt. A trial is not judged by it, since what was
        missed while they rested would not be there to catch up with; but it has to be rested
        for."""
        if self.is_on:
            self._add(-elapsed_s, elapsed_s)
        else:
            self._read_s += elapsed_s

    def _add(self, saved_s: float, spent_s: float) -> None:
        self._saved_s = FADE * self._saved_s + saved_s
        self._spent_s = FADE * self._spent_s + spent_s

    def _judge(self, plain_s: float) -> None:
        self.is_on = self._saved_s > (0 if self.is_on else GAIN * self._spent_s)
        if self.is_on:
            self._read_s = 0.0
        else:
            self._stop(plain_s)

    def _stop(self, plain_s: float) -> None:
        self._rest_s = max((self._read_s - self._saved_s) / SHARE, REST * plain_s)
        self._num_tried = 0
        self._saved_s = self._spent_s = self._read_s = 0.0
