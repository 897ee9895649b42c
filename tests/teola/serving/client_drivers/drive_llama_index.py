"""llama-index against the server whose URL is the argument; prints what it got, as JSON."""

import json
import sys

from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

URL = sys.argv[1]
SETTINGS = {"api_base": URL, "api_key": "x", "max_retries": 0}
MODEL = OpenAILike(model="talker", is_chat_model=True, is_function_calling_model=True, **SETTINGS)
ASKED = [ChatMessage(role=MessageRole.USER, content="tea")]


def find(q: str) -> str:
    """Find a thing."""
    return f"green {q}"


TOOL = FunctionTool.from_defaults(find)


def calls_of(said):
    found = MODEL.get_tool_calls_from_response(said, error_on_no_tool_call=False)
    return [[call.tool_name, call.tool_kwargs] for call in found]


def tool_turn():
    said = MODEL.chat_with_tools([TOOL], chat_history=ASKED, allow_parallel_tool_calls=True)
    ids = [call.tool_id for call in MODEL.get_tool_calls_from_response(said)]
    answers = [
        ChatMessage(
            role=MessageRole.TOOL, content="green", additional_kwargs={"tool_call_id": call_id}
        )
        for call_id in ids
    ]
    last = MODEL.chat_with_tools([TOOL], chat_history=[*ASKED, said.message, *answers])
    return {"calls": calls_of(said), "last": last.message.content}


def forced():
    asked = [ChatMessage(role=MessageRole.USER, content="x")]
    said = MODEL.chat_with_tools([TOOL], chat_history=asked, tool_required=True)
    return calls_of(said)


def streamed_calls():
    return calls_of(list(MODEL.stream_chat_with_tools([TOOL], chat_history=ASKED))[-1])


def embeddings():
    model = OpenAILikeEmbedding(model_name="vectors", **SETTINGS)
    return [len(vector) for vector in model.get_text_embedding_batch(["a cat", "a dog"])]


COUNT = [ChatMessage(role=MessageRole.USER, content="count")]
print(
    json.dumps(
        {
            "chat": MODEL.chat(COUNT).message.content,
            "complete": MODEL.complete("count").text,
            "stream": "".join(chunk.delta or "" for chunk in MODEL.stream_chat(COUNT)),
            "tool_turn": tool_turn(),
            "streamed_calls": streamed_calls(),
            "forced": forced(),
            "embeddings": embeddings(),
        }
    )
)
