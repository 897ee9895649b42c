"""A conversation of several turns: each answer goes on from all that was said before.

    run-graph samples/chat.py:chat
    run-graph samples/chat.py:chat --said "Name a river." "Which sea does it flow to?"

The conversation is one context: its tokens and KV are kept, and a turn reads only what is new.
"""

import teola as tl

SAID = ["Name a planet.", "Is it larger than the Earth?", "Write one sentence about it."]

llm = tl.LLM("local:smollm2-135m")


@tl.program(llm)
async def chat(s: tl.State, said: list[str] = SAID) -> list[str]:
    """Answer what is said, one turn after the other."""
    s += tl.system("You answer in one short sentence.")
    for i, text in enumerate(said):
        s += tl.user(text)
        s += tl.assistant(tl.gen(f"answer_{i}", max_tokens=32, stop="\n"))
    return [s[f"answer_{i}"] for i in range(len(said))]
