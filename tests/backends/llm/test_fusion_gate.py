"""Plans that lose too much on a model are refused, as far as its check tells."""

from pathlib import Path

import pytest

from backends.errors import RequestRejected
from backends.fusion_profile import FusionProfile, PlanQuality, path_of, save
from backends.llm.fusion_gate import FusionGate, upper_bound

MODEL = "local:tiny"
PLANS = {
    "reuse": PlanQuality(r=0, cost=0.05),
    "query(0.15)": PlanQuality(r=0.5, cost=0.2),
    "query(0.3)": PlanQuality(r=0.7, cost=0.35),
    "query(0.3)+first(4)": PlanQuality(r=0.2, cost=0.35),
}


@pytest.fixture(autouse=True)
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FusionProfile:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    made = FusionProfile(model=MODEL, plans=PLANS, floor=0.05)
    save(made)
    return made


def test_a_plan_below_the_floor_is_refused_and_better_ones_are_named() -> None:
    with pytest.raises(RequestRejected) as refusal:
        FusionGate(MODEL, None).check("reuse")
    assert str(refusal.value) == (
        "fusion 'reuse' is below the floor of local:tiny: reuse recovers R 0.00, and the floor is "
        "0.05; name a better plan (query(0.15), query(0.3), query(0.3)+first(4)), leave fusion "
        "out, or make the engine with the option fusion_floor=-0.01"
    )


def test_an_engine_may_have_another_floor() -> None:
    FusionGate(MODEL, -0.01).check("reuse")
    FusionGate(MODEL, 0.5).check("query(0.15)")
    with pytest.raises(RequestRejected, match=r"query\(0.15\) recovers R 0.50"):
        FusionGate(MODEL, 0.6).check("query(0.15)")


def test_a_plan_that_computes_less_than_one_below_the_floor_is_below_it_too() -> None:
    gate = FusionGate(MODEL, 0.6)
    with pytest.raises(RequestRejected, match=r"query\(0.1\).*query\(0.15\) recovers R 0.50"):
        gate.check("query(0.1)")
    gate.check("query(0.2)")  # query(0.3) is above, so this may be


@pytest.mark.parametrize(
    ("plan", "bound"),
    [
        ("reuse", "reuse"),
        ("query(0.15)", "query(0.15)"),
        ("query(ratio=.150)", "query(0.15)"),
        (" query( 0.30 ) + first(4)", "query(0.3)+first(4)"),
        ("query(0.15, first=3)", None),
        ("query(0.05)", "query(0.15)"),
        ("fastest", None),
        ("query(0.2)", "query(0.3)"),
        ("query(0.2)+first(4)", "query(0.3)+first(4)"),
        ("query(0.5)", None),
        ("blend(0.1)", None),
        ("query(0.2)+first(8)", None),
    ],
)
def test_what_bounds_a_plan_that_was_not_checked(plan: str, bound: str | None) -> None:
    assert upper_bound(plan, PLANS) == bound


def test_what_was_not_checked_passes() -> None:
    FusionGate(MODEL, 0.9).check("blend(0.15)")
    FusionGate("local:other", 0.9).check("reuse")


def test_a_profile_that_cannot_be_read_refuses_until_it_is_made_again(
    profile: FusionProfile,
) -> None:
    gate = FusionGate(MODEL, None)
    path_of(MODEL).write_text("{")
    with pytest.raises(RequestRejected, match="fusion is not possible.*teola fusion-check"):
        gate.check("query(0.3)")
    save(profile)
    gate.check("query(0.3)")
