"""What plans lose on one prompt."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backends.base import FusionReport, Part
from teola.fusion_check.earlier import earlier_prompts, how_encoded
from teola.fusion_check.probe import Probe

NUM_TOKENS = 16  # of the exact answer


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one plan on one prompt."""

    kl: float  # nats a token, from the exact distributions to the fused ones
    top1: float  # share of the places where the likeliest token is the same
    cost: float  # share of the token-layers of the prompt that is computed
    num_tokens: int


async def losses(
    probe: Probe, prompt: Sequence[Part], plans: Sequence[str], other: Sequence[Part]
) -> AsyncIterator[tuple[str, Loss]]:
    """Plan by plan, over the tokens that the exact prompt writes; `other` is an earlier question's
    prompt. Raises EngineError."""
    exact = (await probe.prefill(prompt, None)).outputs[0]
    tokens = await probe.continuation(exact, NUM_TOKENS)
    wanted = await probe.logprobs(exact, tokens[:-1])
    exact.release()
    probe.flush()  # else the next would find all of it, exact
    before = None
    for plan in plans:
        if (encoded := how_encoded(plan)) != before:
            probe.flush()  # else it would find its first chunk exact
        before = encoded
        for earlier in earlier_prompts(plan, prompt, other):
            (await probe.prefill(earlier, plan)).outputs[0].release()
        result = await probe.prefill(prompt, plan)
        (context,) = result.outputs
        found = await probe.logprobs(context, tokens[:-1])
        cost = 1.0 if result.fusion is None else cost_of(result.fusion)
        yield plan, Loss(kl_of(wanted, found), top1_of(wanted, found), cost, context.num_tokens)
        context.release()
    probe.flush()


def cost_of(report: FusionReport) -> float:
    """The share of the prompt's token-layers that was computed."""
    return min(1.0, sum(report.rows) / (len(report.rows) * report.num_tokens))


def kl_of(wanted: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> float:
    """Mean divergence of rows of log-probabilities [N, V] from those that are wanted, in nats."""
    return max(0.0, float((np.exp(wanted) * (wanted - found)).sum(-1).mean()))


def top1_of(wanted: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> float:
    """The share of rows with the same likeliest token."""
    return float((wanted.argmax(-1) == found.argmax(-1)).mean())
