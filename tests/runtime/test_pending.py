"""Values on their way from the engines' loop to an `async def` app."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from runtime.clock import run_virtual
from runtime.errors import NodeFailed
from runtime.pending import Pending, outputs_to


@dataclass(slots=True, eq=False)
class Context:
    """A context that counts its releases."""

    num_tokens: int = 0
    num_releases: int = 0

    def release(self) -> None:
        self.num_releases += 1


@dataclass(slots=True)
class Owner:
    """Remembers what it was told."""

    told: list[Exception] = field(default_factory=list)
    owned: list[Any] = field(default_factory=list)

    def tell(self, failure: Exception) -> None:
        self.told.append(failure)

    def own(self, context: Any) -> None:
        self.owned.append(context)

    def disown(self, context: Any) -> None:
        self.owned.remove(context)


def failure() -> NodeFailed:
    return NodeFailed("f", "app.py:1", ValueError("no"))


def nobody(error: Exception) -> None:
    raise AssertionError(f"an effect is said to have failed: {error}")


def test_a_value_that_nobody_waits_for_any_more_is_given_back() -> None:
    context = Context()

    async def main() -> None:
        pending: dict[str, Pending] = {}
        outputs = outputs_to(pending, nobody, (), ())
        outputs.on_value("x", context)
        outputs.on_value("x", "text")
        await asyncio.sleep(0)

    run_virtual(main())
    assert context.num_releases == 1


def test_a_value_that_comes_after_the_end_of_the_apps_loop_is_given_back() -> None:
    context, kept = Context(), []

    async def main() -> None:
        kept.append(outputs_to({"x": Pending(Owner())}, nobody, (), ()))

    run_virtual(main())
    kept[0].on_value("x", context)
    assert context.num_releases == 1


@pytest.mark.parametrize("pieces", [[], ["one "], ["one ", "two"]])
def test_the_pieces_of_a_text_are_all_of_it_whatever_the_engine_streamed(
    pieces: list[str],
) -> None:
    async def main() -> list[str]:
        pending = Pending(Owner())
        outputs = outputs_to({"x": pending}, nobody, (), ("x",))
        assert outputs.on_text is not None
        for piece in pieces:
            outputs.on_text("x", piece)
        outputs.on_text("of another", "text")
        outputs.on_value("x", "one two")
        return [piece async for piece in pending.texts()]

    found = run_virtual(main())
    assert found[: len(pieces)] == pieces
    assert "".join(found) == "one two"


def test_a_text_that_fails_ends_its_pieces_and_the_owner_hears_of_it() -> None:
    owner, seen = Owner(), []

    async def main() -> None:
        pending = Pending(owner)
        outputs = outputs_to({"x": pending}, nobody, (), ("x",))
        assert outputs.on_text is not None
        assert outputs.on_error is not None
        outputs.on_text("x", "one ")
        outputs.on_error("x", failure())
        texts = pending.texts()
        seen.append(await anext(texts))
        with pytest.raises(ValueError, match="no"):
            await anext(texts)

    run_virtual(main())
    assert seen == ["one "]
    assert [str(told.cause) for told in owner.told if isinstance(told, NodeFailed)] == ["no"]


def test_an_effect_that_is_lost_is_told_on_the_apps_loop() -> None:
    told: list[Exception] = []

    async def main() -> None:
        outputs = outputs_to({}, told.append, (), ())
        assert outputs.on_effect_error is not None
        outputs.on_effect_error(failure())
        assert told == []
        await asyncio.sleep(0)

    run_virtual(main())
    assert [str(error.__class__.__name__) for error in told] == ["NodeFailed"]


def test_a_failure_that_is_only_an_input_is_not_told() -> None:
    owner = Owner()

    async def main() -> Any:
        pending = Pending(owner)
        pending.fail(failure())
        return await pending.as_input()

    assert str(run_virtual(main()).error.cause) == "no"
    assert owner.told == []


def test_a_context_belongs_to_the_owner_as_long_as_its_value_is_held() -> None:
    owner, context = Owner(), Context()

    async def main() -> None:
        pending = Pending(owner)
        pending.settle(context)
        assert owner.owned == [context]
        del pending
        assert owner.owned == []

    run_virtual(main())
