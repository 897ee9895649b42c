"""The template of `tl.join`, checked while the app is traced."""

from dataclasses import fields, is_dataclass
from string import Formatter
from typing import Any, NoReturn

from backends.documents import Doc
from frontend_dsl.declared_types import is_list, type_name
from frontend_dsl.errors import TraceError
from frontend_dsl.where import user_frame

ALWAYS = ("i", "text")


def check_template(template: object, item_type: Any) -> None:
    """Raise TraceError for a template that no item of this type can fill."""
    if not isinstance(template, str):
        problem = f"the template of tl.join is a text, not {template!r}"
        raise TraceError(problem, *user_frame())
    known = _fields_of(item_type)
    for name in _names(template):
        if not name.isidentifier():
            _refuse(template, f"{{{name}}} names no field: fields are {{i}}, {{text}} ...")
        if known is not None and name not in known:
            has = ", ".join(f"{{{one}}}" for one in known)
            _refuse(template, f"a {type_name(item_type)} has no field {{{name}}}; there are {has}")


def _names(template: str) -> list[str]:
    """The fields that a template names."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        _refuse(template, f"{error}; a brace that stands for itself is doubled: {{{{ or }}}}")
    names = [name for _, name, _, _ in parsed if name is not None]
    return [name.partition(".")[0].partition("[")[0] for name in names]


def _fields_of(type_: Any) -> tuple[str, ...] | None:
    """The fields of all items of a type; None if they may have others, as documents do."""
    if type_ in (str, int, float, bool) or is_list(type_):
        return ALWAYS
    if type_ is Doc or not isinstance(type_, type):
        return None
    if is_dataclass(type_):
        return (*ALWAYS, *(field.name for field in fields(type_)))
    model_fields = getattr(type_, "model_fields", None)
    return (*ALWAYS, *model_fields) if isinstance(model_fields, dict) else None


def _refuse(template: str, problem: str) -> NoReturn:
    raise TraceError(f"the template {template!r} of tl.join: {problem}", *user_frame())
