from functools import partial

import pytest
from graph_text import assert_keeps, assert_rewrites, graph

from graph_opt.errors import GraphError
from graph_opt.facts import Facts
from graph_opt.write_choices import write_choices

FACTS = Facts({"m": frozenset({"prefill", "structured"}), "n": frozenset({"select"})})
run = partial(write_choices, facts=FACTS)

SELECT = """
    %c0 = context [engine="{engine}"]
    %c1 = prefill %c0 @user "Is it?" @assistant [engine="{engine}"]
    %t, %s, %c2 = select %c1 {choices} [engine="{engine}", score="sum"]
    %u, %c3 = decode %c2 [engine="{engine}"]
    return %t, %u
"""
YES_NO = '["yes", "no"]'


def test_an_engine_that_scores_no_texts_writes_one_of_the_choices() -> None:
    assert_rewrites(
        run,
        SELECT.format(engine="m", choices=YES_NO),
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Is it?" @assistant [engine="m"]
        %t, %c2 = decode %c1 [choices=["yes", "no"], engine="m", max_tokens=11]
        %u, %c3 = decode %c2 [engine="m"]
        return %t, %u
        """,
    )


def test_one_that_does_keeps_it_and_so_does_one_that_is_unknown() -> None:
    assert_keeps(run, SELECT.format(engine="n", choices=YES_NO))
    assert_keeps(run, SELECT.format(engine="other", choices=YES_NO))


def test_it_is_written_in_bodies_too() -> None:
    text = """
        %q = input [type="list"]
        %c0 = context [engine="m"]
        %m = map %q %c0 {
          %x = input [type="str"]
          %c = input [engine="m", type="context"]
          %c1 = prefill %c %x [engine="m"]
          %t, %s, %d = select %c1 ["yes"] [engine="m"]
          return %t
        }
        return %m
    """
    assert "select" not in str(run(graph(text)))


@pytest.mark.parametrize(
    ("choices", "returned", "message"),
    [(YES_NO, "%s", "its scores are read"), ("%q", "%t", "its choices come when it runs")],
)
def test_what_it_cannot_do_is_an_error_that_says_which_engines_can(
    choices: str, returned: str, message: str
) -> None:
    text = f"""
        %q = input [type="list"]
        %c0 = context [engine="m"]
        %t, %s, %d = select %c0 {choices} [engine="m"]
        return {returned}
    """
    with pytest.raises(GraphError, match=message) as caught:
        run(graph(text))
    assert "local:, vllm://" in str(caught.value)
