"""Reads fields of a server's answer; one that is missing is an EngineError that names it."""

from collections.abc import Mapping
from typing import Any

from backends.errors import EngineError


class Fields:
    """An object of an answer, with where it came from."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise EngineError(f"{where}: an object was expected, not {str(value)[:100]!r}")
        self.value: Mapping[str, Any] = value
        self.where = where

    def object(self, name: str) -> "Fields":
        return Fields(self.value.get(name), f"{self.where} {name}")

    def items(self, name: str) -> list[Any]:
        found = self.value.get(name)
        if not isinstance(found, list):
            raise EngineError(f"{self.where}: {name} is no list, but {str(found)[:100]!r}")
        return found

    def first(self, name: str) -> "Fields":
        """The first of a list of objects, which is not to be empty."""
        found = self.items(name)
        if not found:
            raise EngineError(f"{self.where}: {name} is empty")
        return Fields(found[0], f"{self.where} {name}[0]")

    def ids(self, name: str, start: int = 0) -> list[int]:
        """Token ids, those before `start` aside."""
        found = self.items(name)[start:]
        if not all(type(token) is int and token >= 0 for token in found):
            raise EngineError(f"{self.where}: {name} holds more than token ids")
        return found

    def text(self, name: str) -> str:
        found = self.value.get(name)
        if not isinstance(found, str):
            raise EngineError(f"{self.where}: {name} is no text, but {str(found)[:100]!r}")
        return found

    def count(self, name: str) -> int | None:
        """A number of tokens or requests; None where the server does not say it."""
        found = self.value.get(name)
        return found if type(found) is int and found >= 0 else None

    def number(self, name: str) -> float | None:
        found = self.value.get(name)
        return float(found) if isinstance(found, int | float) else None
