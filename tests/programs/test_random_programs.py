"""An app means what its Python says: random programs, run by Python, plain and optimized.

Same result, same effects in the same order, and when something fails, the same first failure.
"""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import Journal, Program, app_names, plain_names, programs

import teola as tl
from backends.fake.capabilities import REMOTE

PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)

SERVERS = {name: tl.LLM(f"fake:{name}", name="llm") for name in REMOTE}

Meaning = tuple[str, Any, list[str]]  # "value" or "error", which, and the effects


def by_python(program: Program) -> Meaning:
    """What the program means."""
    journal = Journal()
    function = program.function(plain_names(journal))
    try:
        result = function(program.question)
        return "value", asyncio.run(result) if program.is_async else result, journal.done
    except Exception as error:
        return "error", _said(error), journal.done


def by_teola(program: Program, server: str = "", **options: Any) -> Meaning:
    """What the app does; `server` names one that its model is like."""
    journal = Journal()
    names = app_names(journal, SERVERS[server]) if server else app_names(journal)
    app = tl.app(program.function(names)).using(memo=False, **options)
    try:
        return "value", app(program.question), journal.done
    except Exception as error:
        return "error", _said(getattr(error, "cause", error)), journal.done


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@PATIENT
@given(program=programs())
def test_a_program_means_the_same_run_by_python_plain_and_optimized(program: Program) -> None:
    expected = by_python(program)
    assert by_teola(program, optimize=False) == expected, program.source
    assert by_teola(program) == expected, program.source


@PATIENT
@given(program=programs(is_async=True))
def test_a_program_with_awaited_values_means_the_same(program: Program) -> None:
    expected = by_python(program)
    assert by_teola(program, optimize=False) == expected, program.source
    assert by_teola(program) == expected, program.source


@PATIENT
@given(program=programs() | programs(is_async=True), server=st.sampled_from(sorted(REMOTE)))
def test_a_program_means_the_same_on_servers(program: Program, server: str) -> None:
    expected = by_python(program)
    assert by_teola(program, server, optimize=False) == expected, program.source
    assert by_teola(program, server) == expected, program.source
