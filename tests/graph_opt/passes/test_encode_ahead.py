"""What a search found is encoded while a reranker chooses from it."""

import pytest
from graph_text import assert_keeps, assert_rewrites, graph

from graph_opt.facts import Facts
from graph_opt.graph import Node
from graph_opt.passes.encode_ahead import encode_ahead

APART = {"m": "gpu:0", "r": "gpu:1"}


class Cost:
    """Of a reranker as said; of a prefill 10 ms."""

    def __init__(self, rerank_s: float) -> None:
        self._rerank_s = rerank_s

    def seconds(self, node: Node) -> float:
        return self._rerank_s if node.op == "rerank" else 0.01


def facts(devices: dict[str, str] | None = None, cost: Cost | None = None) -> Facts:
    return Facts(cost=cost, devices=APART if devices is None else devices)


BEFORE = """
    %q = input [type="str"]
    %hits = search null %q null [engine="s", k=20]
    %best = rerank %q %hits [engine="r"]
    %some = apply %best [fn="slice", stop=3]
    %text = join %some [chunks=true, sep="#"]
    %c0 = context [engine="m"]
    """
PROMPT = '%c1 = prefill %c0 @user "Passages:" @sp @chunks %text %q [engine="m", fusion="reuse"]'
AFTER = """
    %t, %c2 = decode %c1 [engine="m"]
    return %t
    """
REUSING = f"{BEFORE}{PROMPT}{AFTER}"


def test_the_candidates_are_encoded_behind_the_head_of_the_prompt() -> None:
    assert_rewrites(
        lambda g: encode_ahead(g, facts()),
        REUSING,
        f"""{BEFORE}%text.ahead = join %hits [ahead_of="c1", chunks=true, sep="#"]
    %c1.ahead = encode %c0 @user "Passages:" @sp @chunks %text.ahead [ahead_of="c1", engine="m"]
    {PROMPT}{AFTER}""",
    )


@pytest.mark.parametrize("devices", [{}, {"m": "cpu", "r": "cpu"}])
def test_engines_of_one_device_have_no_time_for_it(devices: dict[str, str]) -> None:
    assert_keeps(lambda g: encode_ahead(g, facts(devices)), REUSING)


def test_a_quick_reranker_leaves_no_time_for_it() -> None:
    assert_keeps(lambda g: encode_ahead(g, facts(None, Cost(0.01))), REUSING)
    assert "encode" in str(encode_ahead(graph(REUSING), facts(None, Cost(0.02))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@sp @chunks %text", "@sp %text"),  # exact
        ("%some = apply %best", "%some = apply %hits"),  # not reranked
        ('@user "Passages:"', '@user %best "Passages:"'),  # a head that is as late
    ],
)
def test_other_prompts_stay_as_they_are(old: str, new: str) -> None:
    assert old in REUSING
    assert_keeps(lambda g: encode_ahead(g, facts()), REUSING.replace(old, new))


def test_a_prompt_in_a_body_gets_its_own() -> None:
    lines = f"""
    %qs = input [type="list[str]"]
    %m = map %qs {{
    {REUSING.strip()}
    }}
    return %m
    """
    assert "%c1.ahead = encode %c0" in str(encode_ahead(graph(lines), facts()))
