"""Names for values and calls: readable, and each given once."""

import re

_NOT_NAME = re.compile(r"[^A-Za-z0-9_.]+")


class Names:
    """Gives `answer`, then `answer_2`, `answer_3` ..."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        """A name not given before, as close to `hint` as a value name can be."""
        base = _NOT_NAME.sub("_", hint).strip(".") or "value"
        if base[0].isdigit():
            base = f"_{base}"
        count = self._counts.get(base, 0) + 1
        self._counts[base] = count
        if count == 1:
            return base
        name = f"{base}_{count}"
        return self.fresh(name) if name in self._counts else self._remember(name)

    def _remember(self, name: str) -> str:
        self._counts[name] = 1
        return name
