"""`teola profile APP_OR_URL...`: measure engines, so that plans and schedulers know their times."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from rich.console import Console, Group, RenderableType
from rich.text import Text

from backends.base import Kind
from backends.models.catalog import CATALOG
from backends.registry import EngineSpec, check_scheme
from backends.url_secrets import without_url_secrets
from runtime.cost.profile_store import (
    Profile,
    all_profiles,
    clear,
    profiles_folder,
    save,
    this_machine,
)
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import UsageError, reported
from teola.cli.results import json_text
from teola.cli.target import load_app
from teola.plan import Plan
from teola.profiling.bench import Measured
from teola.profiling.measuring import PROFILED_KINDS, profile_spec
from teola.viewer.formats import count, seconds
from teola.viewer.profile_tables import one_line_each, profile_tables


def profile_all(
    targets: Sequence[str], kind: str | None, budget_s: float, as_json: bool, no_color: bool
) -> None:
    """Profile each engine once, keep each profile as soon as it is made, then show them."""
    specs = specs_of(targets, kind)
    console = stderr_console(no_color)
    profiles = []
    if is_busy():
        console.print("warning: this machine is busy, so times will be too long", style="yellow")
    for spec in specs:
        url = without_url_secrets(spec.url)
        console.print(f"profiling {spec.kind} {url}, about {seconds(budget_s)} and loading")
        profile = asyncio.run(profile_spec(spec, budget_s, _Progress(console)))
        save(profile)
        profiles.append(profile)
    if as_json:
        print(json_text(profiles, indent=2))
        return
    out = stdout_console(no_color)
    for number, profile in enumerate(profiles):
        out.print(_page(profile) if not number else Group(Text(), _page(profile)))
    console.print(f"kept in {profiles_folder()}; used from the next process on", style="dim")


def profile(
    targets: Sequence[str],
    kind: str | None,
    budget_s: float,
    list_all: bool,
    clear_all: bool,
    as_json: bool,
    no_color: bool,
    debug: bool,
) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug):
        if list_all and not (clear_all or targets):
            _show_all(as_json, no_color)
        elif clear_all and not (list_all or targets):
            removed = count(clear(), "profile")
            stderr_console(no_color).print(f"removed {removed} from {profiles_folder()}")
        elif targets and not (list_all or clear_all):
            profile_all(targets, kind, budget_s, as_json, no_color)
        else:
            raise UsageError(
                "give apps or engine URLs to profile, or one of --list and --clear alone: "
                "teola profile app.py:name, teola profile local:smollm2-135m"
            )


def specs_of(targets: Sequence[str], kind: str | None) -> list[EngineSpec]:
    """The engines to profile, each once. Raises UsageError or ConfigError."""
    if kind is not None and kind not in PROFILED_KINDS:
        raise UsageError(f"--kind is one of {', '.join(PROFILED_KINDS)}, not {kind!r}")
    found: dict[str, EngineSpec] = {}
    for target in targets:
        for spec in _specs(target, kind):
            found.setdefault(spec.key, spec)
    if not found:
        raise UsageError(f"{', '.join(targets)}: there is no engine to profile")
    return list(found.values())


def _specs(target: str, kind: str | None) -> list[EngineSpec]:
    if kind is not None or _is_url(target):
        chosen = cast(Kind, kind or _kind_of(target))
        check_scheme(chosen, target)
        return [EngineSpec(chosen, target)]
    made: Plan = load_app(target).plan()
    specs = [engine.spec for engine in made.engines.values()]
    return [spec for spec in specs if spec.kind in PROFILED_KINDS]


def is_busy() -> bool:
    """Whether other work leaves less than three quarters of the processors free."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load > 0.25 * this_machine().num_threads


def _is_url(target: str) -> bool:
    """`scheme:rest`, and not `app.py:name` or `package.module:name`."""
    scheme, colon, _ = target.partition(":")
    is_file = scheme.endswith(".py") or Path(target).is_file()
    return bool(colon) and not is_file and any(_serves(kind, target) for kind in get_args(Kind))


def _serves(kind: str, url: str) -> bool:
    from backends.errors import ConfigError

    try:
        check_scheme(kind, url)
    except ConfigError:
        return False
    return True


def _kind_of(url: str) -> str:
    name = url.partition(":")[2]
    known = CATALOG.get(name)
    if known is not None:
        return known.kind
    if url == "local:maxsim":
        return "reranker"
    raise UsageError(f"what is {url}? Say --kind {'|'.join(PROFILED_KINDS)}")


class _Progress:
    """One line a point, and on a terminal only the last one is left."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, point: Measured) -> None:
        text = f"  {point.op} {point.size} of length {point.length}: {seconds(point.seconds)}"
        if self._console.is_terminal:
            self._console.print(text.ljust(60), end="\r", style="dim")
        else:
            self._console.print(text)


def _page(profile: Profile) -> RenderableType:
    key = profile.key
    options = "".join(f" {name}={value}" for name, value in key.options.items())
    threads = count(key.machine.num_threads, "thread")
    machine = ", ".join([*key.machine.accelerators, f"{key.machine.cpu}, {threads}"])
    head = Text.assemble(
        (f"{key.kind} {key.model}{options}", "bold"),
        (f"  device {key.device}, {machine}, took {seconds(profile.took_s)}", "dim"),
    )
    return Group(head, *profile_tables(profile.model))


def _show_all(as_json: bool, no_color: bool) -> None:
    known = list(all_profiles())
    if as_json:
        print(json_text([profile for _, profile in known], indent=2))
    elif known:
        stdout_console(no_color).print(one_line_each([profile for _, profile in known]))
    else:
        stderr_console(no_color).print(f"no profiles in {profiles_folder()}; see teola profile")
