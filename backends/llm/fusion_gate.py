"""Refuses plans of KV cache fusion that lose too much on a model, by what its check found."""

from collections.abc import Iterable
from dataclasses import astuple
from typing import Any

from backends.errors import ConfigError, RequestRejected
from backends.fusion_profile import FusionProfile, load
from backends.llm.fusion.named_plans import plan_from
from backends.llm.fusion.plans import Alone, InContext, WithFirst


class FusionGate:
    """Of one engine. Without a profile all plans pass."""

    def __init__(self, model: str, floor: float | None) -> None:
        """`floor` is the least R of a plan; None: that of the profile."""
        self._model = model
        self._floor = floor
        self._profile: FusionProfile | None = None
        self._is_read = False

    def check(self, plan: object) -> None:
        """Raises RequestRejected for a plan below the floor, and for a profile that cannot be
        read."""
        profile = self._read()
        if profile is None or not isinstance(plan, str):
            return
        floor = profile.floor if self._floor is None else self._floor
        bound = upper_bound(plan, profile.plans)
        if bound is not None and profile.plans[bound].r < floor:
            raise RequestRejected(
                f"fusion {plan!r} is below the floor of {self._model}: {bound} recovers R "
                f"{profile.plans[bound].r:.2f}, and the floor is {floor:g}; name a better plan "
                f"({_best(profile, floor)}), leave fusion out, or make the engine with the option "
                f"fusion_floor={profile.plans[bound].r - 0.01:.2f}"
            )

    def _read(self) -> FusionProfile | None:
        if not self._is_read:
            try:
                self._profile = load(self._model)
            except ConfigError as error:
                raise RequestRejected(f"fusion is not possible: {error}") from error
            self._is_read = True
        return self._profile


def upper_bound(text: str, checked: Iterable[str]) -> str | None:
    """The plan that was checked and keeps at least as much, however it is spelled: itself, or the
    least of its kind that computes more."""
    wanted = _sized(text)
    larger = {name: found for name in checked if (found := _sized(name)) and wanted}
    fits = {
        name: size
        for name, (kind, size) in larger.items()
        if wanted is not None and kind == wanted[0] and size >= wanted[1]
    }
    return min(fits, key=fits.__getitem__, default=None)


def _sized(text: str) -> tuple[Any, float] | None:
    """A plan without its first number, and that number; None for what is no plan now."""
    try:
        return _without_size(plan_from(text))
    except RequestRejected:
        return None


def _without_size(plan: Any) -> tuple[Any, float]:
    if isinstance(plan, WithFirst):
        kind, size = _without_size(plan.plan)
        return (plan.k, kind), size
    if isinstance(plan, InContext):
        kind, size = _without_size(plan.plan)
        return (InContext, plan.num_tokens, kind), size
    if isinstance(plan, Alone):
        kind, size = _without_size(plan.plan)
        return (Alone, kind), size
    size, *rest = (*astuple(plan), 0)
    return (type(plan), *rest), size


def _best(profile: FusionProfile, floor: float) -> str:
    good = [plan for plan, quality in profile.plans.items() if quality.r >= floor]
    cheapest = sorted(good, key=lambda plan: profile.plans[plan].cost)
    return ", ".join(cheapest[:3]) or "there is none"
