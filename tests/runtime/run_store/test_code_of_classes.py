"""What a class says of a function that uses it: all its methods, whoever calls them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partialmethod
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, computed_field, field_validator, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

import teola as tl
from runtime.run_store.code_content import code_content
from teola.runner import AppRunner, chosen_runner

Function = Callable[[Any], Any]


def behind_a_method(n: int) -> Function:
    class Counter:
        def up(self, x: int) -> int:
            return self.by(x)

        def by(self, x: int) -> int:
            return x + n

    return lambda x: Counter().up(x)


def made_elsewhere(n: int) -> Function:
    class Counter:
        step = n

        def up(self, x: int) -> int:
            return x + n

    def make() -> Counter:
        return Counter()

    return lambda x: make().up(x)


def held_by_the_class(n: int) -> Function:
    class Counter:
        step = n

    def make() -> Counter:
        return Counter()

    return lambda x: make().step + x


def behind_the_base(n: int) -> Function:
    class Base:
        def up(self, x: int) -> int:
            return int(getattr(self, "by")(x))  # noqa: B009

    class Counter(Base):
        def by(self, x: int) -> int:
            return x + n

    return lambda x: Counter().up(x)


def called_by_a_library(n: int) -> Function:
    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.found = n

    return lambda x: Parser().feed(x)


def of_a_setter(n: int) -> Function:
    class Box:
        @property
        def value(self) -> int:
            return 1

        @value.setter
        def value(self, x: int) -> None:
            self.kept = x + n

    return lambda x: setattr(Box(), "value", x)


def remembered(n: int) -> Function:
    class Box:
        @cached_property
        def value(self) -> int:
            return n

        @lru_cache  # noqa: B019
        def other(self) -> int:
            return n

        third = partialmethod(lambda _, x: x + n, 3)

    return lambda x: [getattr(Box(), name) for name in x]


def of_a_metaclass(n: int) -> Function:
    class Meta(type):
        def __call__(cls, *_: Any) -> Any:
            return n

    class Made(metaclass=Meta):
        pass

    return lambda _: Made()


def validated(n: int) -> Function:
    class Order(BaseModel):
        size: int

        @field_validator("size")
        @classmethod
        def bounded(cls, size: int) -> int:
            return min(size, n)

    return lambda x: Order(size=x).size


def validated_as_a_whole(n: int) -> Function:
    class Base(BaseModel):
        size: int

        @model_validator(mode="after")
        def bounded(self) -> "Base":
            self.size = min(self.size, n)
            return self

    class Order(Base):
        @computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> int:
            return self.size * 2

    return lambda x: Order(size=x).model_dump()


def validated_inside(n: int) -> Function:
    class Item(BaseModel):
        rate: int = n

    class Order(BaseModel):
        items: dict[str, list[Item] | None]

    return lambda x: Order.model_validate(x).items


def validated_by_itself(n: int) -> Function:
    class Node(BaseModel):
        rate: int = n
        behind: Annotated[list["Node"], Field(max_length=3)] = []

    Node.model_rebuild(_types_namespace={"Node": Node})
    return lambda x: Node.model_validate(x)


def of_a_dataclass_of_pydantic(n: int) -> Function:
    @pydantic_dataclass
    class Order:
        size: int = Field(default=n)

    return lambda _: Order()


def limited(n: int) -> Function:
    class Order(BaseModel):
        size: int = Field(ge=n)

    return lambda x: Order(size=x)


def made_by_default(n: int) -> Function:
    class Order(BaseModel):
        size: int = Field(default_factory=lambda: n)

    return lambda _: Order()


def dataclass_default(n: int) -> Function:
    @dataclass
    class Order:
        size: int = field(default_factory=lambda: n)

    return lambda _: Order()


@pytest.mark.parametrize(
    "make",
    [
        behind_a_method,
        made_elsewhere,
        held_by_the_class,
        behind_the_base,
        called_by_a_library,
        of_a_setter,
        remembered,
        of_a_metaclass,
        validated,
        validated_as_a_whole,
        validated_inside,
        validated_by_itself,
        of_a_dataclass_of_pydantic,
        limited,
        made_by_default,
        dataclass_default,
    ],
)
def test_a_function_is_another_one_where_a_class_does_something_else(
    make: Callable[[int], Function],
) -> None:
    assert code_content(make(1)) == code_content(make(1)) != code_content(make(2))


def test_a_journal_of_a_class_is_nothing_that_a_function_reads() -> None:
    class Noted:
        seen: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.seen.append(text)

    def note(text: str) -> None:
        Noted().note(text)

    before = code_content(note)
    note("a")
    assert code_content(note) == before


TOLD = """
from dataclasses import dataclass, field
from enum import Enum, Flag
from typing import Annotated, Generic, NamedTuple, Protocol, TypedDict, TypeVar
from abc import ABC, abstractmethod
from pydantic import BaseModel, ConfigDict, Field, field_validator

class Color(str, Enum):
    RED = "red"
    @property
    def loud(self): return self.value.upper()
class Bits(Flag):
    A = 1
class Point(NamedTuple):
    x: int = 0
    def up(self): return self._replace(x=self.x + 1)
class Row(TypedDict):
    a: int
T = TypeVar("T")
class Base(ABC, Generic[T]):
    @abstractmethod
    def run(self) -> T: ...
class Own(Base[int]):
    def run(self): return super().run()
@dataclass(frozen=True, slots=True)
class Pair:
    a: int = 1
    b: list = field(default_factory=list)
class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: Annotated[int, Field(ge=1)] = 1
    color: Color = Color.RED
    tags: list[str] = Field(default_factory=list)
    @field_validator("size")
    @classmethod
    def bounded(cls, size): return min(size, 3)
def read(x):
    return Color(x).loud, Bits.A, Point().up(), Row(a=1), Own().run(), Pair(), Order(size=x)
from runtime.run_store.code_content import code_content
print(code_content(read).hex())
"""


def test_classes_of_all_kinds_are_the_same_in_another_process(tmp_path: Path) -> None:
    file = tmp_path / "told.py"
    file.write_text(TOLD)
    found = {
        subprocess.run(
            [sys.executable, str(file)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop()) > 100


ran: list[int] = []
most = {"n": 5}


def order_of(n: int) -> Any:
    class Order(BaseModel):
        size: int

        @field_validator("size")
        @classmethod
        def bounded(cls, size: int) -> int:
            return min(size, n)

    @tl.tool(pure=True)
    def sized(x: int) -> int:
        ran.append(x)
        return Order(size=x).size

    return sized


def test_a_run_does_not_take_what_another_validator_gave(tmp_path: Path) -> None:
    tools = {"sized": order_of(5)}

    @tl.tool
    def stop() -> None:
        if "ready" not in tools:
            raise ValueError("not ready")

    @tl.app
    async def app(x: int) -> int:
        found = await tl.value(tools["sized"](x))
        await tl.value(stop())
        return int(found)

    runner = AppRunner()
    with chosen_runner(runner):
        with pytest.raises(tl.errors.NodeFailed):
            app.using(runs=str(tmp_path), memo=False)(7)
        tools.update(sized=order_of(6), ready=None)
        run_id = tl.runs(tmp_path)[0].id
        assert tl.resume(run_id, runs=tmp_path, app=app) == 6
        runner.close()
