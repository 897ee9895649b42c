"""Engine options at the edge: a pydantic model a factory, and one clear error for a wrong one."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from backends.errors import ConfigError

NOT_SHOWN = "not_shown"  # the type of a pydantic error whose input may be a secret


class Options(BaseModel):
    """What a factory accepts; the fields' names are the options."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


OptionsT = TypeVar("OptionsT", bound=Options)


def read_options(model: type[OptionsT], engine: str, options: Mapping[str, Any]) -> OptionsT:
    """The options as `model`, or a ConfigError that names the wrong ones and lists the known."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        wrong = "; ".join(_reason(item) for item in error.errors())
        known = ", ".join(sorted(model.model_fields)) or "none"
        raise ConfigError(f"{engine}: {wrong}. Known options: {known}.") from None


def _reason(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown option {name!r}"
    got = "" if item["type"] == NOT_SHOWN else f" (got {item['input']!r})"
    return f"option {name!r}: {item['msg']}{got}"
