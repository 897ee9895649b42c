"""How much of a model's answers the plans of KV cache fusion keep, as `teola fusion-check` found.

One JSON file a model, in the user's cache folder. It holds what was measured; which plan is good
enough is for the reader to say.
"""

import os
import re
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.errors import ConfigError
from backends.models.cache import cache_folder


class PlanQuality(BaseModel):
    """Of one plan, over the bundled data."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    r: float = Field(le=1)  # recovered fraction: 1 is exact, 0 as far off as "reuse"
    cost: float = Field(ge=0, le=1)  # share of a full prefill's token-layers that is computed
    r_low: float | None = None  # the 95 % interval of r
    r_high: float | None = None
    kl: float | None = Field(None, ge=0)  # nats a token, from the exact distributions
    top1: float | None = Field(None, ge=0, le=1)  # places with the same likeliest token


class FusionProfile(BaseModel):
    """Of one model: its plans by their texts, as a request names them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str  # the engine's URL, `EngineInfo.model`: "local:smollm2-135m"
    plans: dict[str, PlanQuality]
    floor: float = 0  # of r: engines refuse plans below it
    num_tokens: int | None = None  # of the prompts that it was measured on, the mean
    made: str = ""  # ISO 8601


def path_of(model: str) -> Path:
    """Where the profile of a model is or would be."""
    name = re.sub(r"[^\w.-]+", "-", model).strip("-")[-60:]
    digest = sha256(model.encode()).hexdigest()[:12]
    return cache_folder() / "profiles" / "fusion" / f"{name}-{digest}.json"


def load(model: str) -> FusionProfile | None:
    """The profile of a model; None where it was never checked. Raises ConfigError for a file that
    cannot be read."""
    path = path_of(model)
    try:
        return FusionProfile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        problem = f"{path} is no fusion profile ({reason}); run `teola fusion-check {model}` again"
        raise ConfigError(problem) from None


def save(profile: FusionProfile) -> Path:
    """Write a profile in place of the model's last one: whole or not at all."""
    path = path_of(profile.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(profile.model_dump_json(indent=2), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
