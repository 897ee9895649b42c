"""Asking a server for calls as any application does: through the official openai client."""

import json

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageToolCallUnion

from benchmarks.bfcl.cases import Case
from benchmarks.bfcl.match import Call
from benchmarks.bfcl.ways import Calls, Way

MAX_TOKENS = 1024  # of a turn, whose calls may be several


def by_client(client: AsyncOpenAI, model: str, choice: str, is_parallel: bool) -> Way:
    """Through `/v1/chat/completions`, for one turn. A call that must come and did not, since the
    turn was cut within it, was not well-formed."""

    async def ask(case: Case) -> Calls:
        answer = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": case.question}],
            tools=[{"type": "function", "function": tool} for tool in case.tools],
            tool_choice=choice,
            parallel_tool_calls=is_parallel,
            max_tokens=MAX_TOKENS,
            temperature=0,
        )
        calls = [_read(call) for call in answer.choices[0].message.tool_calls or ()]
        return calls or ([None] if choice == "required" else [])

    return ask


def _read(call: ChatCompletionMessageToolCallUnion) -> Call | None:
    try:
        arguments = json.loads(call.function.arguments)
    except ValueError:
        return None
    return Call(call.function.name, arguments) if isinstance(arguments, dict) else None
