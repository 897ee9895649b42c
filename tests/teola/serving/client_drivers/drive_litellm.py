"""litellm against the server whose URL is the argument; prints what it got, as JSON."""

import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch one

import litellm

URL, TOOL = sys.argv[1], json.loads(sys.argv[2])
ASKED = [{"role": "user", "content": "tea"}]
SETTINGS = {"api_base": URL, "api_key": "x", "num_retries": 0}


def ask(messages, **fields):
    return litellm.completion("openai/talker", messages=messages, **SETTINGS, **fields)


def calls_of(message):
    return [[call.function.name, call.function.arguments] for call in message.tool_calls or ()]


def tool_turn():
    said = ask(ASKED, tools=[TOOL], parallel_tool_calls=True).choices[0]
    answers = [
        {"role": "tool", "tool_call_id": call.id, "content": "green"}
        for call in said.message.tool_calls
    ]
    history = [*ASKED, said.message.model_dump(), *answers]
    last = ask(history, tools=[TOOL]).choices[0].message.content
    text = said.message.content
    return {
        "text": text,
        "calls": calls_of(said.message),
        "reason": said.finish_reason,
        "last": last,
    }


def streamed_calls():
    chunks = list(ask(ASKED, tools=[TOOL], stream=True))
    whole = litellm.stream_chunk_builder(chunks, messages=ASKED).choices[0]
    return {"text": whole.message.content, "calls": calls_of(whole.message)}


def forced():
    fields = {"tools": [TOOL], "parallel_tool_calls": False}
    named = {"type": "function", "function": {"name": "find"}}
    messages = [{"role": "user", "content": "x"}]
    return [
        calls_of(ask(messages, tool_choice=choice, **fields).choices[0].message)
        for choice in ("required", named)
    ]


def stream():
    chunks = ask(
        [{"role": "user", "content": "count"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    texts, usage = [], None
    for chunk in chunks:
        texts += [choice.delta.content or "" for choice in chunk.choices]
        usage = getattr(chunk, "usage", None) or usage
    return {"text": "".join(texts), "num_tokens": usage.completion_tokens}


def refused():
    try:
        ask(ASKED, temperature=9)
    except litellm.BadRequestError as error:
        return error.status_code
    return None


def embeddings():
    found = litellm.embedding("openai/vectors", input=["a cat", "a dog"], **SETTINGS)
    return [len(entry["embedding"]) for entry in found.data]


print(
    json.dumps(
        {
            "chat": ask([{"role": "user", "content": "count"}]).choices[0].message.content,
            "stream": stream(),
            "tool_turn": tool_turn(),
            "streamed_calls": streamed_calls(),
            "forced": forced(),
            "refused": refused(),
            "embeddings": embeddings(),
        }
    )
)
