"""What decides reads time only through its clock, and draws only from seeded streams: a run on the
virtual clock is then the same each time, and a policy does there what it does in production.

An offence is a name of the wall clock or of unseeded randomness, used at all: a default argument
counts as a call does. The allowed ones are a literal table, each with its reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DECIDES = (
    "runtime",
    "backends/policy",
    "backends/emulated",
    "backends/llm/planner",
    "backends/llm/sequence",
    "backends/llm/kv",
    "backends/llm/speculation",
    "backends/remote/routing",
    "graph_opt",
)
UNSEEDED = frozenset({"Random", "default_rng", "RandomState", "SystemRandom"})  # without arguments
WHOLE_MODULES = frozenset({"random", "secrets", "time"})
SEEDED = frozenset({"random.Random", "time.sleep", "time.struct_time"})
SINGLE = frozenset(
    {
        *("uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom"),
        *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"),
        *("datetime.date.today", "numpy.random.rand", "numpy.random.random"),
    }
)
ALLOWED = {
    ("backends/emulated/timeline.py", "time.perf_counter"): "WallTimer: the clock of a wall run",
    ("backends/emulated/measure.py", "time.perf_counter"): "measures this machine's real steps",
    ("backends/emulated/between_steps.py", "time.perf_counter"): "measures a real engine's thread",
    ("backends/llm/kv/tiers/disk.py", "time.time"): "ages of files on disk, which processes share",
    ("backends/llm/kv/tiers/disk.py", "time.time_ns"): "dates of files, the same",
    ("backends/llm/kv/tiers/kv_folder.py", "secrets.token_bytes"): "a key that none may guess",
    ("runtime/clock.py", "datetime.datetime.now"): "the date of a run on the wall clock",
    ("runtime/cost/profile_store.py", "datetime.datetime.now"): "the date a profile was made",
    ("runtime/dispatch.py", "uuid.uuid4"): "request ids are unique over processes on a wall clock",
    ("runtime/memo/content.py", "uuid.uuid4"): "tells classes of this process from others' in keys",
    ("runtime/run_store/owners.py", "uuid.uuid4"): "names of processes, which share a folder",
    ("runtime/memo/folder.py", "time.time"): "dates on disk, which processes share",
    ("backends/remote/routing/routed_engine.py", "Random()"): "servers, never on a virtual clock",
}


def offences(source: str) -> Iterator[tuple[int, str]]:
    """Lines and names."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load):
            found = _dotted(node, names)
            if found in SINGLE or (found not in SEEDED and _of_whole_module(found)):
                yield node.lineno, found
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            last = _dotted(node.func, names).rpartition(".")[2]
            if last in UNSEEDED:
                yield node.lineno, f"{last}()"


def _of_whole_module(name: str) -> bool:
    module, dot, _ = name.partition(".")
    return bool(dot) and module in WHOLE_MODULES


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names of modules and of what comes from them, each with its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _files() -> Iterator[Path]:
    for folder in DECIDES:
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", list(_files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_decides_reads_no_wall_clock_and_draws_nothing_unseeded(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    found = {
        f"{name}:{line}: {what}"
        for line, what in offences(path.read_text(encoding="utf-8"))
        if (name, what) not in ALLOWED
    }
    assert not found, (
        "read `runtime.clock`, or the clock that was passed in; draw from Random(seed)"
    )


def test_every_exception_is_still_needed() -> None:
    used = {
        (path.relative_to(ROOT).as_posix(), what)
        for path in _files()
        for _, what in offences(path.read_text(encoding="utf-8"))
    }
    assert set(ALLOWED) <= used


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import time\ntime.monotonic()", "time.monotonic"),
        ("from time import perf_counter as clock\nclock()", "time.perf_counter"),
        ("import time\ndef f(clock=time.time): ...", "time.time"),
        ("import random\nrandom.shuffle([])", "random.shuffle"),
        ("from random import Random\nRandom()", "Random()"),
        ("import numpy as np\nnp.random.default_rng()", "default_rng()"),
        ("from uuid import uuid4\nuuid4()", "uuid.uuid4"),
        ("import os\nos.urandom(8)", "os.urandom"),
        ("import secrets\nsecrets.token_hex()", "secrets.token_hex"),
        ("from datetime import datetime, UTC\ndatetime.now(UTC)", "datetime.datetime.now"),
    ],
)
def test_an_offence_is_seen_under_any_name(source: str, what: str) -> None:
    assert [found for _, found in offences(source)] == [what]


@pytest.mark.parametrize(
    "source",
    [
        "from random import Random\nRandom(7).shuffle([])",
        "import numpy as np\nnp.random.default_rng(0)",
        "from runtime.clock import now\nnow()",
        "import time\ntime.sleep(1)",
    ],
)
def test_seeded_streams_and_the_clock_are_no_offence(source: str) -> None:
    assert not list(offences(source))
