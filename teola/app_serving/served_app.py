"""One app of a service: what clients see of it, and the check of their arguments."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from backends.errors import ConfigError
from frontend_dsl.engine_names import engines_read_by
from frontend_dsl.leaks import is_mangled_inside
from frontend_dsl.signature import MISSING, AppParameter
from teola.app_serving.app_schema import AnyApp, description_of, input_schema, result_schema
from teola.app_serving.chat_arguments import CannotChat, ChatArguments
from teola.app_serving.told import told
from teola.runner import default_runner
from teola.serving.api_errors import ApiError, from_validation, invalid

_NO_TEXT = (
    "it holds characters that no text has, side by side: control characters of U+001C to U+001F, "
    "or characters of the planes for private use"
)
_log = logging.getLogger("teola.apps")


class ServedApp:
    """Raises ConfigError for an app whose arguments cannot be JSON."""

    def __init__(self, app: AnyApp, shows_errors: bool = False) -> None:
        """With `shows_errors` clients are told what exceptions of its validators say."""
        self.app = app
        self._shows_errors = shows_errors
        self.name = app.name
        self.chat, self.why_no_chat = _chat(app)
        try:
            self.parameters = input_schema(app)
            self.takes_secrets = '"writeOnly": true' in json.dumps(self.parameters, default=str)
            self._types = {p.name: _type_of(p) for p in app.parameters}
        except PydanticUserError as error:
            why = error.message.partition(". ")[0]
            raise ConfigError(
                f"app {app.name}() cannot be served: an argument cannot be JSON ({why}); give it "
                "types that pydantic knows"
            ) from None

    @property
    def body(self) -> dict[str, Any]:
        """What clients see of it."""
        return {
            "id": self.name,
            "object": "app",
            "description": description_of(self.app),
            "parameters": self.parameters,
            "result": result_schema(self.app) or {},
        }

    def card(self, created_s: int) -> dict[str, Any]:
        """What a list of models says of one that can chat."""
        about = {"kind": "app", "description": description_of(self.app)}
        return {
            "id": self.name,
            "object": "model",
            "created": created_s,
            "owned_by": "teola",
            **about,
        }

    def prepare(self) -> None:
        """Loads what runs it. A server that is away may come later: a warning says so.

        Raises ConfigError for an engine that can never run, and TraceError for an app that cannot
        be traced; one that needs arguments for that, or has graph breaks, shows it when it runs.
        """
        engines = engines_read_by(self.app._app_function)
        for name, error in default_runner().load(engines, self.app.options).items():
            if isinstance(error, ConfigError):
                raise ConfigError(f"engine {name!r} of {self.name}(): {error}") from error
            _log.warning("engine %r of %s(): %s", name, self.name, error)
        statics = (p for p in self.app.parameters if p.is_static)
        if not self.app.is_async and all(p.default is not MISSING for p in statics):
            self.app.graph()

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises ApiError, which names the argument."""
        by_name = {parameter.name: parameter for parameter in self.app.parameters}
        for name in arguments:
            if name not in by_name:
                has = ", ".join(by_name) or "none"
                what = f"{self.name} has no argument {name[:100]!r}; it has {has}"
                raise invalid(_field(name[:100]), what, "unknown_parameter")
        for parameter in by_name.values():
            self._check(parameter, arguments)

    def _check(self, parameter: AppParameter, arguments: Mapping[str, Any]) -> None:
        name = parameter.name
        if name in arguments:
            self._check_value(name, arguments[name])
        elif parameter.default is MISSING:
            what = f"{self.name} needs the argument {name!r}"
            raise invalid(_field(name), what, "missing_required_parameter")

    def _check_value(self, name: str, value: Any) -> None:
        try:
            self._types[name].validate_json(to_json(value), strict=True)  # "5" is no number
        except ValidationError as error:
            raise _wrong_value(name, from_validation(error, value)) from None
        except Exception as error:  # of a validator that the app's author wrote
            what = f"{self.name} cannot check {name!r}"
            _log.exception("%s", what)
            what += f": {told(error, with_text=self._shows_errors)}"
            raise ApiError(500, what, code="app_failed") from error
        if self.app.is_async and is_mangled_inside(value):  # its Python sees the real text
            raise invalid(_field(name), f"{_field(name)}: {_NO_TEXT}")


def _chat(app: AnyApp) -> tuple[ChatArguments | None, str]:
    try:
        return ChatArguments(app), ""
    except CannotChat as error:
        return None, str(error)


def _type_of(parameter: AppParameter) -> TypeAdapter[Any]:
    return TypeAdapter(parameter.type if parameter.declared is None else parameter.declared)


def _wrong_value(name: str, found: ApiError) -> ApiError:
    inside = f".{found.param}" if found.param else ""
    what = found.message.removeprefix(f"{found.param or 'the request'}: ")
    field = f"{_field(name)}{inside}"
    return invalid(field, f"{field}: {what}", str(found.code))


def _field(name: str) -> str:
    return f"arguments.{name}"
