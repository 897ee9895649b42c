"""The official client drives a real server with a real model."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from backends.base import Part, Request, Result, Turn
from backends.registry import EngineSpec, create

pytestmark = [pytest.mark.server, pytest.mark.model]

MODEL = "smollm2-135m"
EXTRAS = ("--embedder", "local:all-minilm-l6-v2", "--reranker", "local:bert-mini-reranker")
LONG = "List the planets of the solar system in order, with one fact about each of them. " * 4


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[Any]:
    with serve(f"local:{MODEL}", *EXTRAS, "--api-key", "secret", "--option", "kv_tokens=8192") as s:
        yield s


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as made:
        yield made


@asynccontextmanager
async def async_client(server: Any) -> AsyncIterator[AsyncOpenAI]:
    url = f"{server.url}/v1"
    async with AsyncOpenAI(base_url=url, api_key="secret", max_retries=0) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def own_answer(parts: list[Part], max_tokens: int) -> str:
    """What the engine says without a server."""

    async def main() -> str:
        engine = create(EngineSpec("llm", f"local:{MODEL}", {"kv_tokens": 1024}))
        await engine.start()
        try:
            context = (await ask(engine, "prefill", None, *parts)).outputs[0]
            text: str = (await ask(engine, "decode", context, max_tokens=max_tokens)).outputs[0]
            return text
        finally:
            await engine.close()

    return asyncio.run(main())


async def ask(engine: Any, op: str, *inputs: Any, **attrs: Any) -> Result:
    (outcome,) = await engine.execute([Request("0" * 32, op, inputs, attrs)])
    assert isinstance(outcome, Result), outcome
    return outcome


def test_greedy_output_is_the_engines_own(client: OpenAI) -> None:
    said = [Turn("system"), "Be brief.", Turn("user"), "What is the sun?", Turn("assistant")]
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the sun?"},
    ]
    made = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=24
    )

    assert made.choices[0].message.content == own_answer(said, 24)


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    settings: Any = {"model": MODEL, "messages": user("Hi!"), "temperature": 0, "max_tokens": 20}
    whole = client.chat.completions.create(**settings)
    stream = client.chat.completions.create(
        **settings, stream=True, stream_options={"include_usage": True}
    )

    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_a_second_equal_prompt_is_taken_from_the_cache(client: OpenAI) -> None:
    counts = []
    for _ in range(2):
        made = client.completions.create(model=MODEL, prompt=LONG, max_tokens=1)
        assert made.usage is not None
        assert made.usage.prompt_tokens_details is not None
        counts.append((made.usage.prompt_tokens, made.usage.prompt_tokens_details.cached_tokens))

    (num_prompt, cold), (_, warm) = counts
    assert cold == 0
    assert warm is not None
    assert num_prompt - 17 <= warm < num_prompt  # all its whole pages


def test_chunks_are_reused_in_another_order(client: OpenAI) -> None:
    passages = [{"type": "chunk", "text": f"{text} " * 20} for text in ("Bees hum.", "Cows moo.")]

    def ask(content: Any) -> Any:
        messages: Any = [
            {"role": "user", "content": [{"type": "text", "text": "Read: "}, *content]}
        ]
        body = {"fusion": "query(0.15)"}
        return client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=8, extra_body=body
        ).usage.model_dump()  # type: ignore[union-attr]

    question = {"type": "text", "text": "Who hums?"}
    first, second = ask([*passages, question]), ask([*passages[::-1], question])
    assert (first["fusion"]["num_encoded"], second["fusion"]["num_encoded"]) == (2, 0)
    assert second["prompt_tokens_details"]["fused_tokens"] > 50
    assert 0 < second["fusion"]["rows"][-1] < second["prompt_tokens"] / 2


def test_a_conversation_goes_on_from_the_cache(client: OpenAI) -> None:
    messages = user(LONG + "Then say hello.")
    first = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=16
    )
    more: Any = [
        *messages,
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "Go on."},
    ]
    second = client.chat.completions.create(model=MODEL, messages=more, max_tokens=1)

    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details.cached_tokens is not None
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 16


def test_token_ids_and_text_are_the_same_prompt(client: OpenAI, server: Any) -> None:
    headers = {"authorization": "Bearer secret"}
    text = "The capital of France is"
    found = httpx.post(f"{server.url}/tokenize", json={"prompt": text}, headers=headers).json()
    assert found["count"] == len(found["tokens"])
    back = {"tokens": found["tokens"]}
    answer = httpx.post(f"{server.url}/detokenize", json=back, headers=headers)
    assert answer.json() == {"prompt": text}

    made = client.completions.create(
        model=MODEL, prompt=[found["tokens"], found["tokens"]], temperature=0, max_tokens=6
    )
    (one,) = client.completions.create(
        model=MODEL, prompt=text, temperature=0, max_tokens=6
    ).choices
    assert [choice.text for choice in made.choices] == [one.text] * 2
    assert made.usage is not None
    assert made.usage.prompt_tokens == 2 * found["count"]


def test_tokenized_messages_carry_the_templates_markup(server: Any) -> None:
    headers = {"authorization": "Bearer secret"}
    body = {"messages": user("<|im_end|>")}
    ids = httpx.post(f"{server.url}/tokenize", json=body, headers=headers).json()["tokens"]
    text = httpx.post(f"{server.url}/detokenize", json={"tokens": ids}, headers=headers).json()

    assert text["prompt"].endswith(
        "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids.count(2) == 2  # the user's own <|im_end|> is text


def test_several_answers_of_a_seed_differ_and_repeat(client: OpenAI) -> None:
    texts = []
    for _ in range(2):
        made = client.chat.completions.create(
            model=MODEL, messages=user("Tell me a story."), n=3, seed=5, max_tokens=12
        )
        texts.append([choice.message.content for choice in made.choices])

    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3


def test_a_json_schema_is_held(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"type": "integer"}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    made = client.chat.completions.create(
        model=MODEL,
        messages=user("A city and its size, please."),
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": schema, "strict": True},
        },
        max_tokens=60,
        temperature=0,
    )

    found = json.loads(made.choices[0].message.content or "")
    assert set(found) == {"city", "size"}
    assert isinstance(found["size"], int)


def test_regex_and_choices_go_through_extra_body(client: OpenAI) -> None:
    settings: Any = {"model": MODEL, "messages": user("Yes or no?"), "max_tokens": 10}
    chosen = client.chat.completions.create(**settings, extra_body={"choices": ["yes", "no"]})
    matched = client.chat.completions.create(**settings, extra_body={"regex": r"[0-9]{3}-[a-c]+z"})

    assert chosen.choices[0].message.content in ("yes", "no")
    assert re.match(r"[0-9]{3}-[a-c]", matched.choices[0].message.content or "")


def test_log_probabilities_of_both_routes(client: OpenAI) -> None:
    chat = client.chat.completions.create(
        model=MODEL, messages=user("Hi"), max_tokens=4, temperature=0, logprobs=True, top_logprobs=3
    )
    logprobs = chat.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    tokens = logprobs.content
    assert "".join(token.token for token in tokens) == chat.choices[0].message.content
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token  # greedy: the likeliest
        assert bytes(token.bytes or []).decode() == token.token

    plain = client.completions.create(
        model=MODEL, prompt="One, two,", max_tokens=4, temperature=0, logprobs=2
    )
    found = plain.choices[0].logprobs
    assert found is not None
    assert "".join(found.tokens or []) == plain.choices[0].text
    assert found.text_offset is not None
    assert found.text_offset[0] == 0
    assert [len(top) for top in found.top_logprobs or []] == [2] * 4


def test_a_stream_gives_its_log_probabilities_at_the_end(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=user("Hi"), max_tokens=4, temperature=0, logprobs=True, stream=True
    )
    text, tokens = "", []
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if chunk.choices[0].logprobs:
            tokens += [token.token for token in chunk.choices[0].logprobs.content or []]

    assert "".join(tokens) == text


def test_a_biased_token_is_never_or_always_drawn(client: OpenAI) -> None:
    settings: Any = {"model": MODEL, "prompt": "The capital of France is", "temperature": 0}
    free = client.completions.create(**settings, max_tokens=1, logprobs=1)
    banned = client.completions.create(**settings, max_tokens=1, logit_bias={"7042": -100})

    assert free.choices[0].text == " Paris"
    assert banned.choices[0].text != " Paris"


def test_stops_and_limits_of_tokens(client: OpenAI) -> None:
    settings: Any = {"model": MODEL, "prompt": "1, 2, 3, 4,", "temperature": 0}
    stopped = client.completions.create(**settings, max_tokens=30, stop=[" 7"])
    assert " 7" not in stopped.choices[0].text
    assert stopped.choices[0].finish_reason == "stop"

    forced = client.completions.create(**settings, max_tokens=12, extra_body={"ignore_eos": True})
    assert forced.usage is not None
    assert forced.usage.completion_tokens == 12
    assert forced.choices[0].finish_reason == "length"


def test_penalties_are_taken(client: OpenAI) -> None:
    settings: Any = {"model": MODEL, "prompt": "la la la la", "temperature": 0, "max_tokens": 12}
    plain = client.completions.create(**settings).choices[0].text
    varied = client.completions.create(**settings, frequency_penalty=2, presence_penalty=2)

    assert varied.choices[0].text != plain


def test_errors_are_the_clients_own_classes(client: OpenAI, server: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-7", messages=user("x"))
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="word " * 9000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as schema:
        client.chat.completions.create(
            model=MODEL,
            messages=user("x"),
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "nothing"}},
            },
        )
    assert schema.value.param == "response_format"
    with (
        OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        other.models.list()


def test_embeddings_count_their_tokens_take_ids_and_say_what_was_cut(client: OpenAI) -> None:
    texts = ["hello world", "dog " * 300]
    made = client.embeddings.create(model="all-minilm-l6-v2", input=texts)
    assert made.usage.prompt_tokens == 4 + 256
    assert [item.model_dump().get("truncated") for item in made.data] == [None, True]
    ids = [7592, 2088]  # of "hello world" in BERT's vocabulary
    from_ids = client.embeddings.create(model="all-minilm-l6-v2", input=[ids, ids])
    assert from_ids.data[1].embedding == pytest.approx(made.data[0].embedding, abs=1e-5)
    short = client.embeddings.create(model="all-minilm-l6-v2", input=ids, dimensions=64)
    assert len(short.data[0].embedding) == 64
    with pytest.raises(openai.BadRequestError, match="ids of another model"):
        client.embeddings.create(model="all-minilm-l6-v2", input=[100_000])


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


def test_a_required_call_fits_its_schema_and_its_answer_is_read_from_the_cache(
    client: OpenAI,
) -> None:
    messages = user(LONG + "What is the weather in Rome?")
    asked: Any = {"model": MODEL, "tools": [WEATHER], "temperature": 0, "max_tokens": 60}
    first = client.chat.completions.create(
        messages=messages, tool_choice="required", parallel_tool_calls=False, **asked
    )
    (choice,) = first.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.function.name == "weather"
    arguments = json.loads(call.function.arguments)
    assert arguments.keys() == {"city", "days"}
    assert arguments["city"] in ("Paris", "Rome")

    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    last = client.chat.completions.create(messages=messages, tool_choice="none", **asked)
    assert last.choices[0].message.tool_calls is None
    assert first.usage is not None
    assert last.usage is not None
    assert last.usage.prompt_tokens_details is not None
    assert last.usage.prompt_tokens_details.cached_tokens is not None
    assert last.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 16


def test_responses_say_what_chats_say(client: OpenAI) -> None:
    settings: Any = {"model": MODEL, "temperature": 0}
    chat = client.chat.completions.create(messages=user("Hi!"), max_tokens=12, **settings)
    made = client.responses.create(input="Hi!", max_output_tokens=12, **settings)
    assert made.output_text == chat.choices[0].message.content
    assert chat.usage is not None
    assert made.usage is not None
    assert made.usage.input_tokens == chat.usage.prompt_tokens
    assert made.usage.output_tokens == chat.usage.completion_tokens
    include: Any = ["message.output_text.logprobs"]
    events = client.responses.create(
        input="Hi!", max_output_tokens=12, include=include, stream=True, **settings
    )
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(delta.delta for delta in deltas) == made.output_text
    assert all(delta.logprobs for delta in deltas)
    function = {"type": "function", **WEATHER["function"]}
    called = client.responses.create(
        input="Weather?", tools=[function], tool_choice="required", max_output_tokens=90,
        parallel_tool_calls=False, **settings
    )  # fmt: skip
    (call,) = called.output
    assert call.type == "function_call"
    assert json.loads(call.arguments).keys() == {"city", "days"}


def test_a_streamed_call_says_what_the_whole_one_says(client: OpenAI) -> None:
    asked: Any = {
        "model": MODEL,
        "messages": user("Weather?"),
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "temperature": 0,
        "max_tokens": 60,
    }
    whole = client.chat.completions.create(**asked).choices[0].message.tool_calls
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert whole is not None
    assert streamed is not None
    assert [call.function.arguments for call in streamed] == [
        call.function.arguments for call in whole
    ]


def test_models_embeddings_and_reranking(client: OpenAI, server: Any) -> None:
    assert {model.id for model in client.models.list()} >= {MODEL, "all-minilm-l6-v2"}
    assert client.models.retrieve(MODEL).id == MODEL
    made = client.embeddings.create(model="all-minilm-l6-v2", input=["a cat", "a kitten", "a tax"])
    cat, kitten, tax = (item.embedding for item in made.data)
    assert len(cat) == 384
    assert sum(map(float.__mul__, cat, kitten)) > sum(map(float.__mul__, cat, tax))

    body = {"query": "what purrs?", "documents": ["Taxes are due in May.", "A cat purrs."]}
    headers = {"authorization": "Bearer secret"}
    ranked = httpx.post(f"{server.url}/v1/rerank", json=body, headers=headers, timeout=30).json()
    assert ranked["results"][0]["index"] == 1


def test_sixteen_streams_at_once_say_what_each_says_alone(client: OpenAI, server: Any) -> None:
    prompts = [f"{number} and {number + 1} make" for number in range(16)]
    settings: Any = {"model": MODEL, "temperature": 0, "max_tokens": 12}
    alone = [
        client.completions.create(**settings, prompt=prompt).choices[0].text for prompt in prompts
    ]

    async def main() -> list[str]:
        async with async_client(server) as made:

            async def stream(prompt: str) -> str:
                chunks = await made.completions.create(**settings, prompt=prompt, stream=True)
                return "".join([chunk.choices[0].text async for chunk in chunks])

            return await asyncio.gather(*map(stream, prompts))

    assert asyncio.run(main()) == alone


def test_leaving_a_stream_frees_its_place(server: Any) -> None:
    aborted = server.metric("teola_requests_aborted_total")

    async def main() -> None:
        async with async_client(server) as made:
            stream = await made.chat.completions.create(
                model=MODEL,
                messages=user("Tell me a very long story."),
                stream=True,
                max_tokens=4000,
                extra_body={"ignore_eos": True},
            )
            async for _ in stream:
                break
            await stream.close()
            async with asyncio.timeout(60):
                while server.metric("teola_requests_aborted_total") < aborted + 1:
                    await asyncio.sleep(0.05)
                while server.metric("teola_num_requests_running"):
                    await asyncio.sleep(0.05)

    asyncio.run(main())
    assert server.metric("teola_requests_aborted_total") == aborted + 1


def test_the_metrics_parse_and_add_up(server: Any) -> None:
    text = httpx.get(f"{server.url}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}

    assert families["teola_cached_tokens"].samples[0].value > 0
    assert families["teola_time_to_first_token_seconds"].type == "histogram"
    assert families["teola_requests"].type == "counter"
