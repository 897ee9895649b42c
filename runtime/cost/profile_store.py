"""Profiles of engines in the user's cache folder: one file for each engine on each machine.

A file is written whole or not at all. A file that cannot be read is skipped with a
`ProfileWarning`, and profiling again replaces it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from backends.models.cache import cache_folder
from backends.registry import EngineSpec
from backends.url_secrets import without_url_secrets
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency, LatencyModel

FORMAT = 1


class ProfileError(ValueError):
    """A file that is not a profile this version can read; names it."""


class ProfileWarning(UserWarning):
    """A profile was left out."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the times depend on beside the engine."""

    cpu: str
    num_threads: int
    accelerators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """What must be the same for a profile to hold. The device `auto` is the machine's own."""

    kind: str
    model: str
    options: Mapping[str, str]  # without the device; values as Python writes them
    device: str
    machine: Machine


@dataclass(frozen=True, slots=True)
class Profile:
    """Measured latencies and what they were measured on."""

    key: ProfileKey
    model: LatencyModel
    made: str  # ISO 8601
    took_s: float
    format: int = FORMAT

    @property
    def source(self) -> str:
        """Where numbers come from, for people."""
        return f"profiled {self.made[:10]}"


@cache
def _adapter() -> TypeAdapter[Profile]:  # late: 20 ms that runs without any profile do without
    return TypeAdapter(Profile)


def key_of(spec: EngineSpec, machine: Machine | None = None) -> ProfileKey:
    """The key of an engine on this machine, without loading anything.

    All stores in folders share one, since what they hold is not measured.
    """
    options = {name: repr(value) for name, value in sorted(spec.options.items())}
    device = options.pop("device", "'auto'").strip("'\"")
    is_folder = spec.kind == "store" and spec.url.startswith("local:") and spec.url != "local:"
    model = "local:FOLDER" if is_folder else without_url_secrets(spec.url)
    device = "auto" if device == "None" else device
    return ProfileKey(spec.kind, model, options, device, machine or this_machine())


@cache
def this_machine() -> Machine:
    """The processor, the threads that this process may use, and the GPUs it may see."""
    affinity = getattr(os, "sched_getaffinity", None)
    num_threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen) > 0:
        num_threads = min(num_threads, int(chosen))
    return Machine(_cpu_name(), num_threads, tuple(_gpu_names()))


def profiles_folder() -> Path:
    return cache_folder() / "profiles"


def path_of(key: ProfileKey) -> Path:
    """Where the profile of this key is or would be."""
    content = json.dumps(asdict(key), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    name = re.sub(r"[^\w.-]+", "-", key.model).strip("-")[-60:]
    return profiles_folder() / f"{key.kind}-{name}-{digest}.json"


def save(profile: Profile) -> Path:
    """Write a profile in place of the one with the same key."""
    path = path_of(profile.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(_adapter().dump_json(profile, indent=1))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def make_profile(key: ProfileKey, model: LatencyModel, took_s: float) -> Profile:
    """A profile made now."""
    return Profile(key, model, datetime.now(UTC).isoformat(timespec="seconds"), round(took_s, 3))


def read(path: Path) -> Profile:
    """Raises ProfileError for a file that is no profile, OSError for one that is not there."""
    try:
        profile = _adapter().validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ProfileError(f"{path} is not a profile ({reason}); profile again") from None
    if profile.format != FORMAT:
        raise ProfileError(f"{path} has format {profile.format}, not {FORMAT}; profile again")
    return profile


def find(key: ProfileKey) -> Profile | None:
    """The profile of this key, if there is one that can be read."""
    profile = _read_or_warn(path_of(key))
    return profile if profile is not None and profile.key == key else None


def all_profiles() -> Iterator[tuple[Path, Profile]]:
    """Every profile that can be read, also of other machines that share the folder."""
    for path in sorted(profiles_folder().glob("*.json")):
        profile = _read_or_warn(path)
        if profile is not None:
            yield path, profile


def clear() -> int:
    """Remove all profiles; how many there were."""
    paths = list(profiles_folder().glob("*.json"))
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


class Latencies:
    """The latencies of engines by their specs, read from the cache when first asked for."""

    def __init__(self) -> None:
        self._known: dict[str, EngineLatency] = {}  # by EngineSpec.key

    def of(self, spec: EngineSpec) -> EngineLatency:
        """One object for all callers, so that plans see what running engines have measured."""
        if spec.key not in self._known:
            profile = None if spec.kind == "python" else find(key_of(spec))
            self._known[spec.key] = (
                EngineLatency(NOTHING_MEASURED)
                if profile is None
                else EngineLatency(profile.model, profile.source)
            )
        return self._known[spec.key]


def _read_or_warn(path: Path) -> Profile | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (ProfileError, OSError) as error:
        warnings.warn(str(error), ProfileWarning, stacklevel=3)
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()


def _gpu_names() -> Iterator[str]:
    """What the driver lists; importing torch to ask it would take seconds."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        yield from re.findall(r"^Model:\s*(.+?)\s*$", text, re.MULTILINE)
