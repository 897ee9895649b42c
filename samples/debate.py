"""Two agents debate a question, and a judge who has read it all decides.

    run-graph samples/debate.py:debate --question "Is tea better than coffee?"

All speak behind one transcript, which the model prefills once and which grows by what they say.
Each speaker's own instructions stand behind it in a fork, so nobody reads the debate again.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

import teola as tl

QUESTION = "Should a town close its centre to cars?"

llm = tl.LLM("local:smollm2-135m")


class Ruling(BaseModel):
    reason: Annotated[str, Field(max_length=120)]
    winner: Literal["ann", "bob"]


ann = tl.Agent("ann", llm, instructions="Use two sentences.", max_tokens=48, stop="\n")
bob = tl.Agent("bob", llm, instructions="Use two sentences.", max_tokens=48, stop="\n")
judge = tl.Agent("judge", llm, instructions="Say who argued better, and why.", out=Ruling)

sides = tl.teams.debate(ann, bob, judge=judge, rounds=2, name="sides")


@tl.app
def debate(question: str = QUESTION) -> Ruling:
    """Have a question debated and decided."""
    return sides(question)
