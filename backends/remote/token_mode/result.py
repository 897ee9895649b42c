"""The result of a decode: its texts, the contexts behind them, and what they cost together."""

from collections.abc import Sequence

from backends.base import Result
from backends.fusion_reports import total_report
from backends.llm.sequence.tool_decoding import turn_after
from backends.remote.token_mode.call import Call, Cost
from backends.remote.token_mode.output import Output
from backends.remote.token_mode.reading import Decode
from backends.served import longest_served


def result_of(
    decode: Decode, calls: Sequence[Call], outputs: Sequence[Output], before: Cost
) -> Result:
    """Of a decode whose calls gave these outputs; `before` is what a warm-up of the prompt cost."""
    turn, num_prompt = decode.prompt.turn, decode.prompt.num_tokens
    contexts = [
        decode.prompt.extended(output.ids, turn_after(turn, output.turn)) for output in outputs
    ]
    cached = sum(min(output.num_cached or 0, num_prompt) for output in outputs)
    cost = before + Cost(
        num_prompt * len(calls) - cached,
        cached,
        sum(output.num_decoded for output in outputs),
        sum(output.num_fused for output in outputs),
        total_report(output.fusion for output in outputs),
    )
    samples = tuple(output.sample for output in outputs)
    was_cut = any(sample.finish_reason == "length" for sample in samples)
    ended = samples[0].finish_reason if len(samples) == 1 else "stop"
    texts = [output.output for output in outputs]
    values = (texts, contexts) if len(calls) > 1 else (texts[0], contexts[0])
    finish = "length" if was_cut else ended
    served = longest_served(output.served for output in outputs)
    return Result(values, cost.usage, finish, samples, fusion=cost.fusion, served=served)
