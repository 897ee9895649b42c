"""A planner's list, and a writer for each item of it, which begins as soon as the item is there."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin, overload

from frontend_dsl.control import map_
from frontend_dsl.declared_types import is_list
from frontend_dsl.teams.members import Member, ask, checked, type_of_answer, wrong
from frontend_dsl.teams.merging import Merge, checked_merge, merged_list
from frontend_dsl.teams.team import Team
from frontend_dsl.type_hints import field_hints

T = TypeVar("T")
R = TypeVar("R")


@overload
def sections(
    planner: Member[Any],
    writer: Member[T],
    *,
    merge: None = None,
    name: str = ...,
    description: str = ...,
) -> Team[list[T]]: ...
@overload
def sections(
    planner: Member[Any],
    writer: Member[Any],
    *,
    merge: Merge[R],
    name: str = ...,
    description: str = ...,
) -> Team[R]: ...


def sections(
    planner: Member[Any],
    writer: Member[Any],
    *,
    merge: Any = None,
    name: str = "sections",
    description: str = "",
) -> Team[Any]:
    """`planner` answers a list (or a model with one list in it); `writer` is asked the task with
    `section=` each item, while the planner still writes the next.

    `merge` takes the list of all that was written: a function, or an agent as `sections=`.
    """
    joiner = checked_merge("sections", merge)
    members = checked("sections", [planner, writer], least=2)
    field = _list_field(members[0].name, type_of_answer(planner))

    def run(members: Any, task: str) -> Any:
        plan = ask(members[0], task)
        items: Sequence[Any] = plan if field is None else getattr(plan, field)
        written = map_(lambda item: ask(members[1], task, section=item), items)
        return merged_list(joiner, task, "sections", written)

    return Team(name, members, run, description, also=[joiner])


def _list_field(planner: str, type_: Any) -> str | None:
    """The one field that is a list; None if the answer is the list itself."""
    if get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    if type_ is Any or is_list(type_):
        return None
    hints = field_hints(type_) if isinstance(type_, type) else {}
    lists = [name for name, hint in hints.items() if is_list(hint)]
    if len(lists) != 1:
        shown = getattr(type_, "__name__", type_)
        raise wrong(
            f"the planner {planner!r} of tl.teams.sections answers {shown}, with {len(lists)} "
            "lists in it; give it out=list[str], or a model with one list"
        )
    return lists[0]
