"""POST /v1/completions with token ids both ways, as vLLM has it and teola's server after it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from backends.base import FusionReport
from backends.errors import EngineError
from backends.fusion_reports import report_from
from backends.remote.client import Client
from backends.remote.dialects.answer_fields import Fields
from backends.remote.place_fields import served_of
from backends.remote.token_mode.call import Call, Cost, Delta, Prompt, TokenScore

PATH = "/v1/completions"
_TOKEN = "token_id:"  # what `return_tokens_as_token_ids` writes before an id


def prompt_fields(prompt: Prompt, model: str) -> dict[str, Any]:
    """The fields of a prompt; an adapter is asked for as a model."""
    fields: dict[str, Any] = {
        "model": prompt.adapter or model,
        "prompt": list(prompt.ids),
        "request_id": prompt.id,
    }
    return {**fields, "cache_salt": prompt.salt} if prompt.salt else fields


def sampling_fields(call: Call) -> dict[str, Any]:
    """All of them: what is left out would be as the model's generation_config.json has it."""
    sampling = call.sampling
    fields: dict[str, Any] = {
        "max_tokens": call.max_new,
        "min_tokens": min(sampling.min_tokens, call.max_new),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or 0,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "ignore_eos": sampling.ignore_eos and sampling.grammar is None,
        "stop_token_ids": call.stop_ids,
        "return_token_ids": True,
        "stream": call.streams,
    }
    if call.streams:
        fields["stream_options"] = {"include_usage": True}
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        fields["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if call.seed is not None:
        fields["seed"] = call.seed
    if sampling.logprobs is not None:
        fields |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
    return fields


async def deltas(
    client: Client, body: Mapping[str, Any], call: Call, *, takes_text: bool
) -> AsyncGenerator[Delta, None]:
    """What the server writes, in one piece or as it comes."""
    where = f"{client.endpoint.root}{PATH}"
    if not call.streams:
        answer = await client.post(PATH, body, is_safe=True)
        yield delta_of(answer, where, call, takes_text=takes_text)
        return
    async with client.stream(PATH, body, is_safe=True) as events:
        async for event in events:
            yield delta_of(event, where, call, takes_text=takes_text)


def delta_of(event: Any, where: str, call: Call, *, takes_text: bool) -> Delta:
    """A body or an event of a stream. `takes_text`: the server's text is the output's, and not
    what its tokens say."""
    answer = Fields(event, where)
    cached, decoded = usage_of(answer)
    num_fused, fusion = fusion_of(answer)
    served = served_of(answer.value.get("usage"))
    choices = answer.items("choices")
    if not choices:  # the usage after the last token
        return Delta(
            num_cached=cached,
            num_decoded=decoded,
            text="" if takes_text else None,
            num_fused=num_fused,
            fusion=fusion,
            served=served,
        )
    choice = Fields(choices[0], f"{where} choices[0]")
    ids = choice.ids("token_ids") if choice.value.get("token_ids") is not None else []
    finish = choice.value.get("finish_reason")
    if finish not in (None, "stop", "length"):
        raise EngineError(f"{where}: the server ended the request: {finish}")
    stop = choice.value.get("stop_reason")
    is_ours = stop in call.sampling.stop or stop in call.sampling.stop_token_ids
    num_top = call.sampling.logprobs
    return Delta(
        ids=ids,
        scores=scores_of(choice, num_top) if num_top is not None else (),
        text=choice.text("text") if takes_text else None,
        finish=finish,
        stop=stop if is_ours else None,
        num_cached=cached,
        num_decoded=decoded,
        num_fused=num_fused,
        fusion=fusion,
        served=served,
    )


def usage_of(answer: Fields) -> tuple[int | None, int | None]:
    """Cached prompt tokens, where the server says them, and generated ones."""
    usage = answer.value.get("usage")
    if usage is None:
        return None, None
    fields = answer.object("usage")
    details = fields.value.get("prompt_tokens_details")
    cached = Fields(details, "usage").count("cached_tokens") if details is not None else None
    return cached, fields.count("completion_tokens")


def fusion_of(answer: Fields) -> tuple[int, FusionReport | None]:
    """Fused tokens and what they saved, where teola's server reused chunks."""
    usage = answer.value.get("usage")
    report = report_from(usage.get("fusion")) if isinstance(usage, Mapping) else None
    if report is None:
        return 0, None
    return answer.object("usage").object("prompt_tokens_details").count("fused_tokens") or 0, report


def cost_of(event: Any, where: str, num_prompt: int) -> Cost:
    """Of a request whose output is not wanted."""
    answer = Fields(event, where)
    cached, decoded = usage_of(answer)
    known = min(cached or 0, num_prompt)
    return Cost(num_prompt - known, known, decoded or 0, *fusion_of(answer))


def scores_of(choice: Fields, num_top: int) -> list[TokenScore]:
    """The log-probabilities of a choice's tokens, best first at each place."""
    if choice.value.get("logprobs") is None:
        return []
    found = choice.object("logprobs")
    tops = chain(found.value.get("top_logprobs") or (), repeat(None))
    rows = zip(found.items("tokens"), found.items("token_logprobs"), tops, strict=False)
    return [
        TokenScore(_token_of(token, choice.where), value, _best(top or {}, num_top, choice.where))
        for token, value, top in rows
    ]


def _best(top: dict[str, float], num_top: int, where: str) -> Sequence[tuple[int, float]]:
    ordered = sorted(top.items(), key=lambda item: -item[1])[:num_top]
    return [(_token_of(token, where), value) for token, value in ordered]


def _token_of(name: str, where: str) -> int:
    digits = name.removeprefix(_TOKEN)
    if digits == name or not digits.isdecimal():
        raise EngineError(f"{where}: {name!r} is no token id, though ids were asked for")
    return int(digits)
