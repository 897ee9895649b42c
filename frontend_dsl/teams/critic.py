"""A draft, judged and written again until its critic is content."""

from typing import Any, TypeVar

from pydantic import BaseModel, Field

from frontend_dsl.ask import check_count
from frontend_dsl.control import cond, loop
from frontend_dsl.teams.members import Member, ask, checked, type_of_answer, wrong
from frontend_dsl.teams.team import Team
from frontend_dsl.type_hints import field_hints

T = TypeVar("T")


class Verdict(BaseModel):
    """What a critic says of a draft."""

    ok: bool
    fixes: str = Field("", max_length=400)  # what to change if it is not ok


def critic(
    writer: Member[T],
    critic: Member[Any],
    *,
    rounds: int = 3,
    name: str = "critic",
    description: str = "",
) -> Team[T]:
    """`writer` writes a draft; `critic` answers a `Verdict` on it, or a model with `ok: bool`.

    While that is not ok, the writer is asked again, with the draft and the verdict's `fixes` (a
    model without them is given whole), and the critic judges what it wrote. After `rounds`
    judgements the last draft is the answer.
    """
    check_count("tl.teams.critic", "rounds", rounds, 1)
    members = checked("critic", [writer, critic], least=2)
    has_fixes = _has_fixes(members[1].name, type_of_answer(critic))

    def run(members: Any, task: str) -> Any:
        def judged(draft: Any) -> tuple[Any, Any]:
            verdict = ask(members[1], task, draft=draft)
            feedback = verdict.fixes if has_fixes else verdict
            again = cond(
                verdict.ok,
                lambda: draft,
                lambda: ask(members[0], task, draft=draft, feedback=feedback),
            )
            return again, cond(verdict.ok, lambda: False, lambda: True)

        return loop(judged, ask(members[0], task), max=rounds)

    return Team(name, members, run, description)


def _has_fixes(name: str, type_: Any) -> bool:
    """Whether the verdict says what to change. Raises DefinitionError for what is no verdict."""
    hints = field_hints(type_) if isinstance(type_, type) else {}
    if hints.get("ok") is not bool:
        shown = getattr(type_, "__name__", type_)
        raise wrong(
            f"the critic {name!r} of tl.teams.critic answers {shown}; give it "
            "out=tl.teams.Verdict, or a model with `ok: bool`"
        )
    return "fixes" in hints
