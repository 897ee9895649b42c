"""Two sides of a question, and a judge who has read what they said."""

from typing import Any, TypeVar, overload

from frontend_dsl.ask import check_count
from frontend_dsl.teams.group_chat import closed
from frontend_dsl.teams.members import Member, checked
from frontend_dsl.teams.merging import Merge, checked_merge
from frontend_dsl.teams.team import Team
from frontend_dsl.teams.transcript import Line, Transcript

R = TypeVar("R")
SYSTEM = "A question is debated. You write what each side says."
PRO = "Give a reason why the answer is yes, and answer what was said against it."
CON = "Give a reason why the answer is no, and answer what was said for it."
JUDGE = "The debate is over. Judge it."


@overload
def debate(
    pro: Member[Any],
    con: Member[Any],
    *,
    judge: None = None,
    rounds: int = 2,
    name: str = ...,
    description: str = ...,
) -> Team[list[Line]]: ...
@overload
def debate(
    pro: Member[Any],
    con: Member[Any],
    *,
    judge: Merge[R],
    rounds: int = 2,
    name: str = ...,
    description: str = ...,
) -> Team[R]: ...


def debate(
    pro: Member[Any],
    con: Member[Any],
    *,
    judge: Any = None,
    rounds: int = 2,
    name: str = "debate",
    description: str = "",
) -> Team[Any]:
    """`pro` and `con` speak in turn, `rounds` times each, on the question that is the task.

    `judge` has read it all and gives the answer; a function is given the lines. Without one the
    lines are the answer. The debate is read once by each model, as in `group_chat`.
    """
    check_count("tl.teams.debate", "rounds", rounds, 1)
    ending = checked_merge("debate", judge)

    def run(members: Any, task: str) -> Any:
        chat = Transcript(SYSTEM, f"Question: {task}")
        for _ in range(rounds):
            for member, side in zip(members, (PRO, CON), strict=True):
                chat.speak(member, side)
        return closed(chat, ending, JUDGE)

    return Team(name, checked("debate", [pro, con], least=2), run, description, also=[ending])
