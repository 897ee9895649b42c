"""What ends an agent before its answer."""

from typing import Literal

Limit = Literal["turns", "tokens", "seconds", "calls"]


class AgentError(RuntimeError):
    """An agent did not come to its answer."""


class BudgetExceeded(AgentError):
    """An agent needed more than it may use; `limit` says of what."""

    def __init__(self, agent: str, limit: Limit, most: float) -> None:
        how = "max_turns=" if limit == "turns" else f"Budget({limit}=)"
        super().__init__(
            f"the agent {agent} used up its {most:g} {limit} before it answered: raise {how}, or "
            'let it answer with what it has (on_limit="answer")'
        )
        self.agent = agent
        self.limit = limit
        self.most = most


class AnswerNotValid(AgentError):
    """The answer of an agent is no value of its type, also after it was told why; or max_tokens cut
    the call that it had to make."""


class ApprovalNeeded(AgentError):
    """Something needs a person's approval, and there is nobody to ask."""


class ApprovalPending(ApprovalNeeded):
    """A stored run waits for a person's approval: `run` goes on once `question` is answered.

    The run ends with it, whatever an `except` of the app does: nothing behind it runs."""

    ends_run = True

    def __init__(self, named: str, question: str) -> None:
        """`named`: the run as commands take it, its id first."""
        self.run = named.partition(" ")[0]
        super().__init__(
            f"run {self.run} waits for approval: {question!r}; answer it with `teola approve "
            f"{named}`, with --no, or with --value JSON where it asks for a value"
        )
        self.question = question
