"""Which engine of a run is which, alike in every process: those that share a name are numbered.

What an engine gave is kept under its name and number. An engine is known again by its identity,
what its URL and options say, in whatever order engines are asked when the run goes on. One that is
not known has a number of its own, unless the run has other engines now and it replaces the one that
had its name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import count
from pathlib import PurePath
from typing import Any, TypeAlias

from backends.registry import EngineSpec
from backends.url_secrets import without_url_secrets
from runtime.run_store.rows import EngineRow

_PLAIN = (str, bytes, int, float, bool, type(None), PurePath)
_NUMBER = re.compile(r"_\d+$")
_SECRET = re.compile(r"(key|token|password|secret|auth|credentials?)$", re.IGNORECASE)


class EngineNumbers:
    """Those of one run. Used on the engines' loop."""

    def __init__(self, kept: Sequence[EngineRow] = (), *, may_replace: bool = False) -> None:
        """`kept` are those that earlier processes asked; where the run has other engines now, an
        engine that is not among them may replace one."""
        self._may_replace = may_replace
        self._names: dict[tuple[str, str], str] = {}  # by name in the program, and spec
        self._kept: dict[str, dict[str, EngineRow]] = defaultdict(dict)  # by identity
        self._taken: dict[str, dict[str, int]] = defaultdict(dict)  # in this process, by spec
        self._used: dict[str, set[str]] = defaultdict(set)  # identities, in this process
        for row in sorted(kept, key=lambda each: each.number):
            self._kept[_group(row.name)][row.identity] = row

    def name(self, name: str, spec: EngineSpec, keep: Callable[[EngineRow], None]) -> str:
        """What the run calls an engine that its program calls so; `keep` is told of a new one."""
        found = self._names.get((name, spec.key))
        if found is None:
            group = _group(name)
            number = self._taken[group].get(spec.key) or self._take(group, name, spec, keep)
            found = self._names[name, spec.key] = group if number == 1 else f"{group} {number}"
        return found

    def _take(
        self, group: str, name: str, spec: EngineSpec, keep: Callable[[EngineRow], None]
    ) -> int:
        used = self._used[group]
        identity = next(each for each in _identities(spec) if each not in used)
        used.add(identity)
        row = self._kept[group].get(identity)
        number = self._number(group, name, row)
        self._taken[group][spec.key] = number
        if row is None or row.number != number:
            keep(EngineRow(name, identity, number))
        return number

    def _number(self, group: str, name: str, row: EngineRow | None) -> int:
        taken, kept = {*self._taken[group].values()}, self._kept[group].values()
        if row is not None and row.number not in taken:
            return row.number
        of_name = {each.number for each in kept if each.name == name}
        if row is None and self._may_replace and len(of_name) == 1 and of_name.isdisjoint(taken):
            return of_name.pop()
        return max({0, *taken, *(each.number for each in kept)}) + 1


class EnginesByOrder:
    """Of a run that an earlier version began: its engines are numbered as they are asked."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, int]] = {}  # by name: the keys of their specs

    def name(self, name: str, spec: EngineSpec, _: Callable[[EngineRow], None]) -> str:
        known = self._known.setdefault(name, {})
        number = known.setdefault(spec.key, len(known) + 1)
        return name if number == 1 else f"{name} {number}"


Engines: TypeAlias = EngineNumbers | EnginesByOrder


def _group(name: str) -> str:
    """Programs number engines of one name in the order in which they first ask them."""
    return _NUMBER.sub("", name)


def _identities(spec: EngineSpec) -> Iterator[str]:
    """What tells an engine from others of its name; of those that look alike one after another."""
    meant = spec.stands_for or spec
    options = [
        (name, _said(value))
        for name, value in sorted(meant.options.items())
        if not _SECRET.search(name)
    ]
    said = repr((meant.kind, without_url_secrets(meant.url), options))
    found = blake2b(said.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
    yield found
    yield from (f"{found} {number}" for number in count(2))


def _said(value: Any) -> Any:
    """What is the same in every process: of most objects their class alone."""
    if isinstance(value, (list, tuple)):
        return [*map(_said, value)]
    if isinstance(value, dict):
        return [(_said(key), _said(item)) for key, item in value.items()]
    return repr(value) if isinstance(value, _PLAIN) else type(value).__qualname__
