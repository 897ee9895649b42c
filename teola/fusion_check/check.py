"""The whole check of one model: its plans on the questions, and the profile that comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from math import inf
from pathlib import Path
from statistics import mean
from typing import Any

from backends.base import Part
from backends.errors import ConfigError
from backends.fusion_profile import FusionProfile, PlanQuality, load, path_of
from backends.llm.engine import LLMEngine
from backends.llm.fusion.named_plans import plan_from
from backends.llm.kv.tiers.page_key import identity_of
from backends.models.fetch import resolve
from backends.registry import EngineSpec, create
from teola.fusion_check.journal import Journal
from teola.fusion_check.loss import Loss, losses
from teola.fusion_check.probe import Probe
from teola.fusion_check.questions import DATA, Question
from teola.fusion_check.recovered import recovered

BASE = "reuse"  # what R is measured from
_USUAL = (
    BASE,
    "lego(4)",
    "lego(16)",
    "lego(8)+alone",
    "reuse+context(256)",
    "reuse+context(256)+alone",
    "lego(4)+context(256)",
    "lego(4)+context(256)+alone",
    "query(0.15)",
    "query(0.3)",
    "query(0.5)",
    "blend(0.15)",
    "query(0.15)+context(256)",
    "lego(16)+context(256)",
    "craft(0.15)",
)
DEFAULT_FLOOR = 0.1  # of R: a plan that brings back less is hardly better than "reuse"

Losses = Mapping[str, Sequence[Loss]]  # by plan, an entry a question


@dataclass(frozen=True, slots=True)
class Settings:
    """What is checked, and how."""

    url: str
    questions: Sequence[Question]
    plans: Sequence[str] = ()  # none: the usual ones
    floor: float = DEFAULT_FLOOR
    dtype: str = "float32"

    @property
    def all_plans(self) -> list[str]:
        """With the base. Raises RequestRejected for one that there is not."""
        found = list(dict.fromkeys((BASE, *(self.plans or _USUAL))))
        for plan in found:
            plan_from(plan)
        return found


def url_of(model: str) -> str:
    """A name of the catalogue as the URL of its engine. Raises ConfigError for a server's."""
    url = model if ":" in model else f"local:{model}"
    if url.partition(":")[0] not in ("local", "hf"):
        raise ConfigError(
            f"fusion-check runs embedded models (local:, hf:), and copies the profile of teola:// "
            f"servers; {model!r} is neither"
        )
    return url


async def check(settings: Settings, on_loss: Callable[[], None]) -> Losses:
    """All losses; `on_loss` is called with each. What was measured before is not again: the journal
    keeps it, until `finish`. Raises EngineError and ConfigError."""
    journal = journal_of(settings)
    found: dict[str, list[Loss]] = {plan: [] for plan in settings.all_plans}
    engine = _engine_of(settings)
    try:
        await engine.start()
        for number in range(len(settings.questions)):
            prompts = [settings.questions[i].prompt for i in (number, number - 1)]
            await _measure(Probe(engine), number, prompts, list(found), journal, on_loss)
            for plan, own in found.items():
                loss = journal.get(number, plan)
                assert loss is not None, "measured above"
                own.append(loss)
    finally:
        await engine.close()
    return found


def finish(settings: Settings, found: Losses) -> FusionProfile:
    """The profile of the losses; of plans that were checked before and not now, what was found
    then."""
    before = load_or_none(settings.url) if settings.plans else None
    plans = dict(before.plans) if before is not None else {}
    return FusionProfile(
        model=settings.url,
        plans=plans | {plan: _quality(own, found[BASE]) for plan, own in found.items()},
        num_tokens=round(mean(loss.num_tokens for loss in found[BASE])),
        floor=settings.floor,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def load_or_none(url: str) -> FusionProfile | None:
    """A profile that cannot be read is made anew."""
    try:
        return load(url)
    except ConfigError:
        return None


def journal_of(settings: Settings) -> Journal:
    """What an earlier check of the same weights, questions and version left behind."""
    from teola import __version__

    about: dict[str, Any] = {
        "model": settings.url,
        "weights": identity_of(resolve(settings.url)),
        "dtype": settings.dtype,
        "data": sha256(DATA.read_bytes()).hexdigest(),
        "version": __version__,
    }
    return Journal(journal_path(settings.url), about)


def journal_path(url: str) -> Path:
    return path_of(url).with_suffix(".journal")


async def _measure(
    probe: Probe,
    number: int,
    prompts: Sequence[Sequence[Part]],
    plans: Sequence[str],
    journal: Journal,
    on_loss: Callable[[], None],
) -> None:
    missing = [plan for plan in plans if journal.get(number, plan) is None]
    for _ in range(len(plans) - len(missing)):
        on_loss()
    if missing:
        prompt, earlier = prompts
        async for plan, loss in losses(probe, prompt, missing, earlier):
            journal.keep(number, plan, loss)
            on_loss()


def _engine_of(settings: Settings) -> LLMEngine:
    options = {"dtype": settings.dtype, "fusion_floor": -inf}
    engine = create(EngineSpec("llm", settings.url, options))
    assert isinstance(engine, LLMEngine), "local: and hf: are embedded"
    return engine


def _quality(own: Sequence[Loss], base: Sequence[Loss]) -> PlanQuality:
    found = recovered([loss.kl for loss in own], [loss.kl for loss in base])
    return PlanQuality(
        r=round(found.r, 4),
        cost=round(mean(loss.cost for loss in own), 4),
        r_low=round(found.low, 4),
        r_high=round(found.high, 4),
        kl=round(mean(loss.kl for loss in own), 5),
        top1=round(mean(loss.top1 for loss in own), 4),
    )
