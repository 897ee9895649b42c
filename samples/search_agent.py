"""An agent that judges whether a question needs a web search, searches if so, and answers.

    run-graph samples/search_agent.py:agent --question "who got the first nobel prize in physics"

The web is a local corpus here; `WEB = "https://host/search"`, a SearxNG, searches the real one.
The words to search for are written beside the judgement, in one batch, so that the search begins
as soon as the judgement says yes.
"""

import enum
from pathlib import Path

import teola as tl

WEB = f"corpus:{Path(__file__).parent / 'data/web/pages.jsonl'}"

llm = tl.LLM("local:smollm2-135m")
web = tl.WebSearch(WEB)


class Kind(enum.Enum):
    FACT = "fact"
    CHAT = "chat"


@tl.prompt(
    llm,
    out=Kind,
    max_tokens=8,
    system="Label the message: fact, for a question about the world; chat, for anything else.",
)
def judge(message: str) -> str:
    return f"""\
Message: Hello!
Kind: chat
Message: who wrote hamlet
Kind: fact
Message: Tell me a joke.
Kind: chat
Message: when did the titanic sink
Kind: fact
Message: {message}
Kind:"""


@tl.prompt(llm, max_tokens=16, stop="\n", system="Write the words to type into a search engine.")
def search_words(question: str) -> str:
    return f"{question}"


@tl.prompt(llm, max_tokens=32, stop="\n", system="Answer in one sentence.")
def chat(question: str) -> str:
    return f"{question}"


@tl.tool(pure=True)
def is_fact(kind: Kind) -> bool:
    return kind is Kind.FACT


@tl.app
def agent(question: str = "who got the first nobel prize in physics", k: int = 2) -> str:
    """Answer a question, after a web search if it needs one."""
    words = search_words(question)
    return tl.cond(
        is_fact(judge(question)),
        lambda: tl.synthesize(
            llm, question, web(f"{question} {words}", k=k), max_tokens=32, stop="\n"
        ),
        lambda: chat(question),
    )
