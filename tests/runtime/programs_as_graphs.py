"""Random programs as graphs for fake engines: calls, effects, failures, and what takes them."""

import hashlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

ENGINES = ("tools", "python", "calls")
TAGS = ("a", "b", "c")  # few, so that equal calls are common
ON_ERROR = ("raise", "raise", "skip", "keep")


def digest(*parts: object) -> str:
    return hashlib.sha256(repr([str(part) for part in parts]).encode()).hexdigest()[:6]


class Functions:
    """What the calls do; `done` are the effects in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @property
    def symbols(self) -> dict[str, Callable[..., Any]]:
        names = ("work", "risky", "send", "risky_send", "items", "flag", "never")
        return {name: getattr(self, name) for name in names}

    def work(self, *parts: object) -> str:
        return digest("work", *parts)

    def risky(self, *parts: object) -> str:
        found = digest("risky", *parts)
        if int(found, 16) % 4 == 0:
            raise ValueError(f"risky {found}")
        return found

    def send(self, *parts: object) -> str:
        self.done.append(digest("send", *parts))
        return self.done[-1]

    def risky_send(self, *parts: object) -> str:
        self.risky("send", *parts)
        return self.send(*parts)

    def items(self, *parts: object) -> list[str]:
        found = digest("items", *parts)
        return [f"{found}{i}" for i in range(int(found, 16) % 6)]

    def flag(self, *parts: object) -> bool:
        return int(digest("flag", *parts), 16) % 2 == 0

    def never(self, *parts: object) -> str:
        raise ValueError(f"never {digest(*parts)}")


class Writer:
    """Writes the lines of one graph; as a tracer does, each call is after the one before."""

    def __init__(self, draw: st.DrawFn, depth: int, params: list[str], is_pure: bool) -> None:
        self.draw = draw
        self.depth = depth
        self.is_pure = is_pure
        self.values = list(params)
        self.lines: list[str] = []
        self.last: str | None = None
        self.num_nodes = 0

    def ref(self) -> str:
        return self.draw(st.sampled_from(self.values))

    def name(self) -> str:
        self.num_nodes += 1
        return f"%n{self.num_nodes}"

    def add(self, text: str, bodies: str = "") -> str:
        name = self.name()
        after = f" after {self.last}" if self.last is not None else ""
        self.lines.append(f"{name} = {text}{after}{bodies}")
        self.last = name
        return name

    def call(self, fn: str, *args: str) -> str:
        engine, tag = self.draw(st.sampled_from(ENGINES)), self.draw(st.sampled_from(TAGS))
        pure = "" if "send" in fn else ", pure=true"
        return self.add(f'call "{tag}" {" ".join(args)} [engine="{engine}", fn="{fn}"{pure}]')

    def step(self) -> None:
        kinds = ["risky"] * 4 + ["work"] * 2 + ([] if self.is_pure else ["send", "risky_send"])
        if self.depth:
            kinds += ["map", "map", "attempt", "attempt", "cond", "loop", "first"]
        kind = self.draw(st.sampled_from(kinds))
        if hasattr(self, f"_{kind}"):
            self.values.append(getattr(self, f"_{kind}")())
        else:
            self.values.append(self.call(kind, self.ref(), self.ref()))

    def _map(self) -> str:
        items, captured = self.call("items", self.ref()), self.ref()
        on_error = self.draw(st.sampled_from(ON_ERROR))
        attrs = "" if on_error == "raise" else f', on_error="{on_error}"'
        return self.add(f'map {items} {captured} [order="sequential"{attrs}]', self.bodies(2))

    def _attempt(self) -> str:
        return self.add(f"attempt null {self.ref()}", self.bodies(2, 2))

    def _cond(self) -> str:
        return self.add(f"cond {self.call('flag', self.ref())} {self.ref()}", self.bodies(1, 1))

    def _loop(self) -> str:
        return self.add(f"loop {self.ref()} {self.ref()} [max=2]", self.bodies(2, num_results=2))

    def _first(self) -> str:
        """At most one of the alternatives succeeds."""
        never = self.body(1, fn="never")
        return self.add(
            f"first null {self.ref()}", f"{never} else {self.body(1, is_pure=True)[1:]}"
        )

    def bodies(self, *num_params: int, num_results: int = 1) -> str:
        texts = [self.body(count, num_results=num_results) for count in num_params]
        return " else".join(texts)

    def body(
        self, num_params: int, num_results: int = 1, is_pure: bool = False, fn: str | None = None
    ) -> str:
        params = [f"%p{i}" for i in range(num_params)]
        inner = Writer(self.draw, self.depth - 1, params, self.is_pure or is_pure)
        if fn is not None:
            inner.values.append(inner.call(fn, inner.ref()))
        else:
            for _ in range(self.draw(st.integers(1, 4))):
                inner.step()
        returned = inner.values[-1:]
        if num_results == 2:
            returned.append(inner.call("flag", inner.ref()))
        inputs = [f'{param} = input [type="str"]' for param in params]
        lines = [*inputs, *inner.lines, f"return {', '.join(returned)}"]
        return " {\n" + "\n".join(lines) + "\n}"


@st.composite
def programs(draw: st.DrawFn) -> str:
    """The text of a plain graph with one input."""
    writer = Writer(draw, 2, ["%x"], is_pure=False)
    for _ in range(draw(st.integers(1, 6))):
        writer.step()
    outputs = draw(st.lists(st.sampled_from(writer.values), min_size=1, max_size=3, unique=True))
    inner = "\n".join(['%x = input [type="str"]', *writer.lines, f"return {', '.join(outputs)}"])
    return "graph g {\n" + inner + "\n}"


LATENCIES = st.sampled_from([0.1, 0.3, 1.0])


@st.composite
def speeds(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """How fast each engine is, and how much it takes at once."""
    return {
        engine: {
            "latency_s": draw(LATENCIES),
            "num_slots": draw(st.sampled_from([1, 8])),
            "max_batch_items": draw(st.sampled_from([1, 64])),
        }
        for engine in ENGINES
    }
