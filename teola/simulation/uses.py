"""What simulated engines did, read from them at the end."""

from collections.abc import Mapping

from backends.base import Engine
from backends.emulated.instances import Instances
from teola.runner import AppRunner
from teola.simulation.served import EngineUse


def uses_in(runner: AppRunner, named: Mapping[str, str]) -> dict[str, EngineUse]:
    """Of the engines that an app has by these names; not of those it never asked, nor of fakes."""
    made = dict(runner.engines)
    asked = {name: (url, made[url]) for name, url in named.items() if url in made}
    return {
        name: use_of(url, engine)
        for name, (url, engine) in asked.items()
        if hasattr(engine, "device_busy_s")
    }


def use_of(url: str, engine: Engine) -> EngineUse:
    """Of an engine whose device counts its time."""
    each = engine.engines if isinstance(engine, Instances) else [engine]
    preemptions = sum(getattr(one, "num_preemptions", 0) for one in each)
    busy_s: float = getattr(engine, "device_busy_s", 0.0)
    return EngineUse(url, busy_s, len(each), preemptions)
