"""How fast an endpoint is, learned from its answers: seconds a prompt token and a written one.

An answer that streams tells the two apart; the time of another one is shared out by what is known.
Short prompts teach nothing: most of their time is not theirs.
"""

from math import exp, log

PREFILL_TOKEN_S = 1e-4  # before the first answer
DECODE_TOKEN_S = 1e-2
FADES_S = 60.0  # half of what is known of an endpoint that gets no requests
KEPT = 0.9  # of what was seen before, with each answer
LEAST_TOKENS = 64


class _Rate:
    """A ratio of sums, in which old answers count less."""

    def __init__(self, guess: float) -> None:
        self.token_s = guess
        self.seen_s: float | None = None  # when it was last learned
        self._seconds = 0.0
        self._tokens = 0.0

    def learn(self, seconds: float, num_tokens: float, now_s: float) -> None:
        kept = KEPT * self.knowledge(now_s)
        self._seconds = kept * self._seconds + seconds
        self._tokens = kept * self._tokens + num_tokens
        self.token_s = max(1e-9, self._seconds / self._tokens)
        self.seen_s = now_s

    def knowledge(self, now_s: float) -> float:
        """How much of it still counts, 1 to 0."""
        return 0.0 if self.seen_s is None else float(0.5 ** ((now_s - self.seen_s) / FADES_S))


class Speed:
    """Of one endpoint."""

    def __init__(self) -> None:
        self._prefill = _Rate(PREFILL_TOKEN_S)
        self._decode = _Rate(DECODE_TOKEN_S)

    @property
    def prefill_token_s(self) -> float:
        return self._prefill.token_s

    @property
    def decode_token_s(self) -> float:
        return self._decode.token_s

    def knowledge(self, now_s: float) -> float:
        """How much of the rate of prompts still counts, 1 to 0."""
        return self._prefill.knowledge(now_s)

    def saw_first_token(self, seconds: float, num_tokens: float, now_s: float) -> None:
        """So many prompt tokens, with those queued before, took so long."""
        if num_tokens >= LEAST_TOKENS and seconds > 0:
            self._prefill.learn(seconds, num_tokens, now_s)

    def saw_text(self, seconds: float, num_tokens: int, now_s: float) -> None:
        """The tokens of a text took so long."""
        if num_tokens >= 1 and seconds > 0:
            self._decode.learn(seconds, num_tokens, now_s)

    def saw_whole(self, seconds: float, num_prompt: float, num_written: int, now_s: float) -> None:
        """A prompt and the text behind it took so long together."""
        prompt_s = num_prompt * self._prefill.token_s
        text_s = num_written * self._decode.token_s
        if prompt_s + text_s > 0:
            share = prompt_s / (prompt_s + text_s)
            self.saw_first_token(seconds * share, num_prompt, now_s)
            self.saw_text(seconds * (1 - share), num_written, now_s)


def prefill_rates(speeds: list[Speed], now_s: float) -> list[float]:
    """Seconds a prompt token at each; what is not known, or no more, is as at the others.

    So a slow endpoint is tried again after a while.
    """
    weights = [speed.knowledge(now_s) for speed in speeds]
    logs = [log(speed.prefill_token_s) for speed in speeds]
    if sum(weights) < 1e-6:
        return [exp(sum(logs) / len(logs))] * len(speeds)
    typical = sum(w * x for w, x in zip(weights, logs, strict=True)) / sum(weights)
    return [exp(w * x + (1 - w) * typical) for w, x in zip(weights, logs, strict=True)]
