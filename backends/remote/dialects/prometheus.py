"""Numbers out of a /metrics page in Prometheus' text format."""

import re

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(\{[^}]*\})? (?P<value>\S+)", re.MULTILINE)


class MetricsPage:
    """The values of each metric, one for each set of labels."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, list[float]] = {}
        for match in _LINE.finditer(text):
            self._values.setdefault(match["name"], []).append(float(match["value"]))

    def total(self, name: str) -> float | None:
        """The sum over all labels; None: there is no such metric."""
        return sum(self._values[name]) if name in self._values else None

    def most(self, name: str) -> float | None:
        return max(self._values[name]) if name in self._values else None
