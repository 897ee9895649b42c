"""One look at everything: facts, and what is wrong with what to do about it."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.errors import ConfigError
from backends.models.cache import sha256_of
from backends.models.fetch import status
from backends.native.build import Built, build
from backends.registry import EngineSpec
from backends.url_secrets import without_url_secrets
from teola import __version__
from teola.doctor.caches import Cache, read_caches
from teola.doctor.engines import check_engines
from teola.doctor.machine import Machine, Torch, read_machine, read_torch
from teola.doctor.measuring import MODEL, Speed, measure
from teola.doctor.packages import Extra, read_extras
from teola.doctor.servers.checked import CheckedEngine

_LOCAL = 'run `pip install "teola[local]"` for models in this process'


@dataclass(frozen=True, slots=True)
class Kernels:
    """`isa` is the set that models run on by default; without a path they run in torch."""

    isa: str
    origin: str  # wheel, cache or compiled
    path: Path | None
    sha256: str | None
    reason: str  # why there are none


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    kind: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Report:
    machine: Machine
    kernels: Kernels
    torch: Torch
    models: list[Model]
    caches: list[Cache]
    speed: Speed | None
    versions: dict[str, str]  # of teola and Python
    extras: list[Extra]
    engines: list[CheckedEngine]
    hints: list[str]  # what is not wrong and may be wanted
    problems: list[str]  # each with what to do


def examine(
    with_speed: bool, engines: Sequence[EngineSpec] = (), unread: Sequence[str] = ()
) -> Report:
    """Compiles the kernels where there are none yet. `with_speed` runs the default model, if it is
    here, for some seconds. `engines` are looked at too; their servers are asked. `unread` are
    problems that were found before."""
    problems = [*map(without_url_secrets, unread)]
    kernels = _kernels(problems)
    torch, caches = read_torch(), read_caches()
    problems += [cache.problem for cache in caches if cache.problem]
    models = [Model(known.model.name, known.model.kind, known.path) for known in status()]
    hints = _hints(torch, models)
    speed = measure() if with_speed and not hints else None
    if with_speed and speed is None:
        problems.append(f"--measure needs torch and {MODEL}")
    checked = check_engines(engines) if engines else []
    hints += [f"{one.url}: {hint}" for one in checked for hint in one.hints]
    problems += [f"{one.url}: {problem}" for one in checked for problem in one.problems]
    versions = {"teola": __version__, "python": platform.python_version()}
    return Report(
        read_machine(),
        kernels,
        torch,
        models,
        caches,
        speed,
        versions,
        read_extras(),
        checked,
        hints,
        problems,
    )


def _kernels(problems: list[str]) -> Kernels:
    try:
        built = build()
    except ConfigError as error:
        built = Built(None, str(error), remedy="unset TEOLA_ISA, or name a set of this CPU")
    if built.remedy:
        problems.append(f"models run in torch, slowly: {built.reason}; {built.remedy}")
    sha256 = None if built.path is None else sha256_of(built.path)
    return Kernels(built.isa, built.origin, built.path, sha256, built.reason)


def _hints(torch: Torch, models: list[Model]) -> list[str]:
    hints = [] if torch.version else [f"torch is not installed: {_LOCAL}"]
    if not any(model.name == MODEL and model.path for model in models):
        hints.append(f"the default model is not here: run `teola models fetch {MODEL}`")
    return hints
