"""Engines of a run have the same names in every process."""

from itertools import permutations

import pytest

from backends.registry import EngineSpec
from runtime.run_store.engine_numbers import EngineNumbers
from runtime.run_store.rows import EngineRow

SMALL, LARGE, OTHER = (EngineSpec("llm", f"fake:{size}") for size in ("small", "large", "other"))


def names(numbers: EngineNumbers, *specs: EngineSpec) -> tuple[list[str], list[EngineRow]]:
    """Of specs as one program asks them, which counts engines of one name itself."""
    rows: list[EngineRow] = []
    own = ["llm", "llm_2", "llm_3"]
    return [numbers.name(*pair, rows.append) for pair in zip(own, specs, strict=False)], rows


def test_an_engine_is_known_again_in_any_order() -> None:
    specs = [SMALL, LARGE, OTHER]
    (found, kept) = names(EngineNumbers(), *specs)
    assert found == ["llm", "llm 2", "llm 3"]
    for each in permutations(range(3)):
        again, more = names(EngineNumbers(kept), *(specs[i] for i in each))
        assert again == [found[i] for i in each]
        assert more == []


@pytest.mark.parametrize(("may_replace", "expected"), [(False, "llm 2"), (True, "llm")])
def test_another_engine_has_a_name_of_its_own_unless_it_may_replace_one(
    may_replace: bool, expected: str
) -> None:
    _, kept = names(EngineNumbers(), SMALL)
    assert names(EngineNumbers(kept, may_replace=may_replace), LARGE)[0] == [expected]


def test_an_engine_replaces_none_that_is_asked_too() -> None:
    _, kept = names(EngineNumbers(), SMALL)
    numbers = EngineNumbers(kept, may_replace=True)
    assert names(numbers, SMALL, LARGE)[0] == ["llm", "llm 2"]
    _, kept = names(EngineNumbers(), SMALL, LARGE)
    numbers = EngineNumbers(kept, may_replace=True)
    assert names(numbers, LARGE, OTHER)[0] == ["llm 2", "llm 3"]


def test_engines_that_look_alike_are_numbered_as_they_are_asked() -> None:
    alike = [EngineSpec("llm", "fake:", {"replies": object()}, i) for i in (1, 2)]
    found, kept = names(EngineNumbers(), *alike)
    assert found == ["llm", "llm 2"]
    assert names(EngineNumbers(kept), *alike)[0] == found
    assert EngineNumbers(kept).name("llm", alike[1], kept.append) == "llm"


def test_keys_are_no_part_of_an_engine() -> None:
    old, new = (
        EngineSpec("llm", f"x://host/?token={key}", {"api_key": key}) for key in ("one", "two")
    )
    _, kept = names(EngineNumbers(), old)
    assert "one" not in str(kept)
    assert names(EngineNumbers(kept), new) == (["llm"], [])
