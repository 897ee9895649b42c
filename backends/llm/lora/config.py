"""What an `adapter_config.json` of PEFT asks for; what we would do wrongly is a ConfigError."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.errors import ConfigError

MODULES = {
    "q_proj": "self_attn",
    "k_proj": "self_attn",
    "v_proj": "self_attn",
    "o_proj": "self_attn",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "mlp",
}
_REFUSED = {  # setting -> what it does that we do not
    "use_dora": "scales the weights' columns (DoRA)",
    "use_qalora": "pools the inputs (QA-LoRA)",
    "use_bdlora": "cuts A and B into blocks (BD-LoRA)",
    "lora_bias": "adds a bias to B",
    "modules_to_save": "replaces whole modules of the base model",
    "trainable_token_indices": "replaces rows of the embedding",
    "layer_replication": "repeats layers of the base model",
    "target_parameters": "adapts parameters that are not linear layers",
    "alora_invocation_tokens": "switches the adapter on inside a prompt (aLoRA)",
    "arrow_config": "routes between adapters (Arrow)",
    "kasa_config": "changes the base weights (KaSA)",
    "monteclora_config": "samples its weights (MonteCLoRA)",
}
_INITS_THAT_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Ranks and scales of an adapter's modules, by their full name in the base model."""

    rank: int
    alpha: float
    targets: tuple[str, ...] | None  # None: given as a pattern, so the file's tensors tell
    is_partial: bool  # not every layer has its targets
    is_rslora: bool  # divides alpha by the root of the rank (arXiv 2312.03732)
    ranks: Mapping[str, int]  # pattern -> rank, where it is another
    alphas: Mapping[str, float]

    def rank_of(self, module: str) -> int:
        return self.ranks.get(_pattern_for(module, self.ranks), self.rank)

    def scale_of(self, module: str) -> float:
        """What PEFT multiplies B @ A with."""
        rank = self.rank_of(module)
        alpha = self.alphas.get(_pattern_for(module, self.alphas), self.alpha)
        return alpha / (math.sqrt(rank) if self.is_rslora else rank)

    def must_have(self, module: str) -> bool:
        """Does the config promise tensors for this module?"""
        if self.targets is None or self.is_partial:
            return False
        return any(module == name or module.endswith(f".{name}") for name in self.targets)


def read_config(raw: Mapping[str, Any], where: str) -> LoraConfig:
    """Raises ConfigError."""
    if raw.get("peft_type") != "LORA":
        raise ConfigError(
            f"{where}: peft_type {raw.get('peft_type')!r} is not supported; only LORA"
        )
    _check_supported(raw, where)
    targets = _targets(raw.get("target_modules"), where)
    try:
        config = LoraConfig(
            rank=int(raw["r"]),
            alpha=float(raw["lora_alpha"]),
            targets=targets,
            is_partial=raw.get("layers_to_transform") is not None
            or bool(raw.get("exclude_modules")),
            is_rslora=bool(raw.get("use_rslora", False)),
            ranks={key: int(rank) for key, rank in (raw.get("rank_pattern") or {}).items()},
            alphas={key: float(alpha) for key, alpha in (raw.get("alpha_pattern") or {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(f"{where} is not complete ({type(error).__name__}: {error})") from error
    for rank in (config.rank, *config.ranks.values()):
        if rank < 1:
            raise ConfigError(f"{where}: a rank must be at least 1, not {rank}")
    for alpha in (config.alpha, *config.alphas.values()):
        if not math.isfinite(alpha):
            raise ConfigError(f"{where}: lora_alpha must be a finite number, not {alpha}")
    _check_patterns((*config.ranks, *config.alphas), where)
    return config


def _check_supported(raw: Mapping[str, Any], where: str) -> None:
    for name, meaning in _REFUSED.items():
        if raw.get(name):
            raise ConfigError(f"{where}: {name}={raw[name]!r} is not supported: it {meaning}")
    if raw.get("bias", "none") != "none":
        raise ConfigError(
            f"{where}: bias={raw['bias']!r} is not supported: it replaces biases of the base model"
        )
    init = raw.get("init_lora_weights")
    if isinstance(init, str) and init.startswith(_INITS_THAT_CHANGE_THE_BASE):
        raise ConfigError(
            f"{where}: init_lora_weights={init!r} is not supported: it changes the base weights; "
            "save the adapter converted to plain LoRA (path_initial_model_for_weight_conversion)"
        )


def _targets(raw: object, where: str) -> tuple[str, ...] | None:
    if isinstance(raw, str) or raw is None:
        return None
    if not isinstance(raw, list | tuple):
        raise ConfigError(f"{where}: target_modules must be names or a pattern, not {raw!r}")
    names = tuple(map(str, raw))
    for name in names:
        if name.rsplit(".", 1)[-1] not in MODULES:
            raise ConfigError(
                f"{where}: target module {name!r} is not supported; supported: {', '.join(MODULES)}"
            )
    return names


def _check_patterns(patterns: Iterable[str], where: str) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"{where}: {pattern!r} is no pattern of names: {error}") from error


def _pattern_for(module: str, patterns: Mapping[str, object]) -> str:
    """The first pattern that fits the end of a module's name, as PEFT matches them."""
    fits = (key for key in patterns if re.match(rf"(.*\.)?({key})$", module))
    return next(fits, module)
