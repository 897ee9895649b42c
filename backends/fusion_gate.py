"""Refuses plans of KV cache fusion that lose too much on a model, by what its check found."""

import re
from collections.abc import Mapping

from backends.errors import ConfigError, RequestRejected
from backends.fusion_profile import FusionProfile, PlanQuality, load

_PLAN = re.compile(r"(\w+)\(([\d.]+)\)(.*)")


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


def upper_bound(plan: str, plans: Mapping[str, PlanQuality]) -> str | None:
    """The plan that was checked and keeps at least as much: itself, or the least of its kind that
    computes more."""
    if plan in plans:
        return plan
    wanted = _PLAN.fullmatch(plan)
    larger: dict[str, float] = {}
    for name in plans:
        found = _PLAN.fullmatch(name)
        if wanted and found and (found[1], found[3]) == (wanted[1], wanted[3]):
            size = float(found[2])
            larger |= {name: size} if size > float(wanted[2]) else {}
    return min(larger, key=larger.__getitem__, default=None)


def _best(profile: FusionProfile, floor: float) -> str:
    good = [plan for plan, quality in profile.plans.items() if quality.r >= floor]
    cheapest = sorted(good, key=lambda plan: profile.plans[plan].cost)
    return ", ".join(cheapest[:3]) or "there is none"
