"""The last piece of a prompt goes with its decode."""

from textwrap import dedent

import pytest

from graph_opt.facts import Facts
from graph_opt.passes.fuse_decode import fuse_decode
from graph_opt.text import parse


def fused(lines: str, facts: Facts | None = None) -> str:
    """The lines of the graph between its input and its return, after the pass."""
    graph = parse(f'graph g {{\n%q = input [type="str"]\n{dedent(lines)}\nreturn %t\n}}')
    after = str(fuse_decode(graph) if facts is None else fuse_decode(graph, facts))
    return dedent("\n".join(after.split("\n")[2:-2])) + "\n"


PLAIN = """\
%c0 = context [engine="m"]
%c1 = prefill %c0 @user %q @assistant [engine="m"]
%t, %c2 = decode %c1 [engine="m", max_tokens=8]
"""


def test_a_prompt_goes_with_its_decode() -> None:
    assert fused(PLAIN) == dedent("""\
        %c0 = context [engine="m"]
        %t, %c2 = decode %c0 @user %q @assistant [engine="m", max_tokens=8]
        """)


def test_of_a_prompt_in_pieces_only_the_last_goes_with_it() -> None:
    pieces = PLAIN.replace(
        "%c1 = prefill %c0 @user %q @assistant",
        '%h = prefill %c0 @user "Head" [engine="m"]\n%c1 = prefill %h %q @assistant',
    )
    assert fused(pieces) == dedent("""\
        %c0 = context [engine="m"]
        %h = prefill %c0 @user "Head" [engine="m"]
        %t, %c2 = decode %h %q @assistant [engine="m", max_tokens=8]
        """)


@pytest.mark.parametrize(
    "more",
    [
        '%s, %c3 = decode %c1 [engine="m", temperature=1.0]\n',  # two answers to one prompt
        '%c3 = prefill %c1 "more" [engine="m"]\n',
        '%e = embed "x" [engine="e"] after %c1\n',
    ],
)
def test_a_prompt_that_another_node_needs_stays(more: str) -> None:
    assert fused(PLAIN + more) == PLAIN + more


def test_a_prompt_that_could_start_before_its_decode_stays() -> None:
    waits = '%e = call %q [engine="p", fn="f"]\n' + PLAIN.replace("=8]", "=8] after %e")
    assert fused(waits) == waits


def test_what_the_prompt_is_after_the_decode_is_after() -> None:
    waits = '%e = call %q [engine="p", fn="f"]\n' + PLAIN.replace(
        '@assistant [engine="m"]', '@assistant [engine="m"] after %e'
    )
    assert fused(waits).endswith('[engine="m", max_tokens=8] after %e\n')


def test_another_adapter_is_another_prompt() -> None:
    adapted = PLAIN.replace('@assistant [engine="m"]', '@assistant [adapter="a", engine="m"]')
    assert fused(adapted) == adapted


def test_an_engine_that_cannot_gets_two_requests() -> None:
    assert fused(PLAIN, Facts({"m": frozenset({"prefill"})})) == PLAIN
    assert fused(PLAIN, Facts({"m": frozenset({"prefill", "decode_parts"})})) != PLAIN


def test_the_tools_of_the_prompt_go_with_it() -> None:
    tools = PLAIN.replace(
        '@assistant [engine="m"]', '@assistant [engine="m", tools=[{"name": "f"}]]'
    )
    assert fused(tools) == dedent("""\
        %c0 = context [engine="m"]
        %t, %c2 = decode %c0 @user %q @assistant [engine="m", max_tokens=8, tools=[{"name": "f"}]]
        """)


def test_a_decode_with_other_tools_than_its_prompt_stays_apart() -> None:
    other = PLAIN.replace("max_tokens=8", 'max_tokens=8, tools=[{"name": "f"}]')
    assert fused(other) == other
