"""Which prefills run ahead on engines that keep contexts with the client; the others are written
into their readers."""

from functools import partial

import pytest
from graph_text import assert_keeps, assert_rewrites, graph

from graph_opt.cost_model import CostModel
from graph_opt.facts import Facts
from graph_opt.graph import Node
from graph_opt.ops import OPS
from graph_opt.passes.warm_up import warm_up
from graph_opt.pipeline import optimize
from graph_opt.tokens import num_tokens

ABLE = frozenset({"prefill", "warm_up", "decode_parts", "fork"})
ALONE = Facts({"m": ABLE})
SHARING = Facts({"m": ABLE | {"shares_in_flight"}})
LONG = "Answer in plain English, from the passages alone, and name them. " * 5  # 81 tokens

run = partial(warm_up, facts=ALONE)
run_sharing = partial(warm_up, facts=SHARING)

HEAD = f'%c0 = context [engine="m"]\n%h = prefill %c0 @system "{LONG}" [engine="m"]\n'
AHEAD = HEAD.replace("[engine", "[ahead=true, engine").replace(
    "context [ahead=true, engine", "context [engine"
)
SEARCH = '%d = search null %q null [engine="s"]\n'
ASK = """
    %c1 = prefill %h @user %d @assistant [engine="m"]
    %t, %c2 = decode %c1 [engine="m", max_tokens=9]
"""
ASKED = '%t, %c2 = decode %h @user %d @assistant [engine="m", max_tokens=9]\n'
INPUT = '%q = input [type="str"]\n'


def lines(*parts: str) -> str:
    """Graph text whose lines all begin where they may."""
    return "\n".join(line.strip() for part in parts for line in part.splitlines() if line.strip())


def test_a_long_head_whose_reader_waits_for_other_work_runs_ahead() -> None:
    assert_rewrites(
        run_sharing,
        lines(INPUT, HEAD, SEARCH, ASK, "return %t"),
        lines(INPUT, AHEAD, SEARCH, ASKED, "return %t"),
    )


@pytest.mark.parametrize(
    ("attrs", "waits"),
    [("pure=true", False), ("pure=true, reads=true", True), ("", True)],
)
def test_a_pure_function_is_nothing_to_wait_for(attrs: str, waits: bool) -> None:
    call = SEARCH.replace(
        'search null %q null [engine="s"]', f'call %q [{attrs}, engine="p", fn="f"]'
    ).replace("[, ", "[")
    after = run_sharing(graph(lines(INPUT, HEAD, call, ASK, "return %t")))
    assert ("ahead" in str(after)) == waits


def test_a_fused_prefill_names_its_chunks_and_stays() -> None:
    fused = ASK.replace("%d @assistant [", '@chunks %d "Why?" @assistant [fusion="reuse", ')
    short = HEAD.replace(LONG, "Be brief.")
    read = '%c1 = prefill %c0 @system "Be brief." @user @chunks %d "Why?" @assistant '
    assert_rewrites(
        run,
        lines(INPUT, short, SEARCH, fused, "return %t"),
        lines(
            INPUT,
            '%c0 = context [engine="m"]',
            SEARCH,
            read + '[engine="m", fusion="reuse"]',
            '%t, %c2 = decode %c1 [engine="m", max_tokens=9]',
            "return %t",
        ),
    )


def test_a_short_head_is_written_into_its_reader() -> None:
    short = HEAD.replace(LONG, "Be brief.")
    assert_rewrites(
        run,
        lines(INPUT, short, SEARCH, ASK, "return %t"),
        lines(
            INPUT,
            '%c0 = context [engine="m"]',
            SEARCH,
            '%t, %c2 = decode %c0 @system "Be brief." @user %d @assistant '
            '[engine="m", max_tokens=9]',
            "return %t",
        ),
    )


def test_a_head_whose_reader_waits_for_nothing_is_written_into_it() -> None:
    ask = '%t, %c2 = decode %h @user %q [engine="m"]'
    whole = f'%t, %c2 = decode %c0 @system "{LONG}" @user %q [engine="m"]'
    assert_rewrites(
        run,
        lines(INPUT, HEAD, ask, "return %t"),
        lines(INPUT, '%c0 = context [engine="m"]', whole, "return %t"),
    )


FORKS = """
    %t, %a = decode %h "a" [engine="m"]
    %u, %b = decode %h "b" [engine="m"]
    return %t, %u
"""
FORKED = f"""
    %c0 = context [engine="m"]
    %t, %a = decode %c0 @system "{LONG}" "a" [engine="m"]
    %u, %b = decode %c0 @system "{LONG}" "b" [engine="m"]
    return %t, %u
"""


def test_forks_of_a_head_wait_for_it_unless_the_server_shares_what_runs() -> None:
    assert_rewrites(run, lines(HEAD, FORKS), lines(AHEAD, FORKS))
    assert_rewrites(run_sharing, lines(HEAD, FORKS), lines(FORKED))


def test_readers_one_after_another_find_the_head_without_a_request_for_it() -> None:
    chain = """
        %t, %a = decode %h "a" [engine="m"]
        %u, %b = decode %h %t [engine="m"]
        return %u
    """
    written = f"""
        %c0 = context [engine="m"]
        %t, %a = decode %c0 @system "{LONG}" "a" [engine="m"]
        %u, %b = decode %c0 @system "{LONG}" %t [engine="m"]
        return %u
    """
    assert_rewrites(run, lines(HEAD, chain), lines(written))


MAP = """
    %m = map %q %h {
      %x = input [type="str"]
      %c = input [engine="m", type="context"]
      %t, %d = decode %c %x [engine="m"]
      return %t
    }
    return %m
"""


def body(text: str) -> str:
    return text.replace("\n    ", "\n").strip()


def test_a_head_that_the_items_of_a_map_share_runs_ahead() -> None:
    given = lines(INPUT, HEAD) + "\n" + body(MAP)
    assert_rewrites(run, given, lines(INPUT, AHEAD) + "\n" + body(MAP))
    of_one = given.replace("map %q", 'map ["one"]')
    assert "ahead" not in str(run(graph(of_one)))


def test_where_items_share_what_runs_the_head_is_written_into_the_body() -> None:
    given = lines(INPUT, HEAD.replace(f'"{LONG}"', f'"{LONG}" %q')) + "\n" + body(MAP)
    after = f"""
    %c0 = context [engine="m"]
    %m = map %q %c0 %q {{
      %x = input [type="str"]
      %c = input [engine="m", type="context"]
      %c.0 = input [type="Any"]
      %t, %d = decode %c @system "{LONG}" %c.0 %x [engine="m"]
      return %t
    }}
    return %m
"""
    assert_rewrites(run_sharing, given, INPUT + body(after))


BRANCH = """\
  %c = input [engine="m", type="context"]
  %t, %d = decode %c [engine="m"]
  %u, %e = decode %c "again" [engine="m"]
  %v = format %t %u
  return %v
"""
OTHER = """\
  %c = input [engine="m", type="context"]
  %t = const [value="no"]
  return %t
"""


@pytest.mark.parametrize(("other", "pays"), [(BRANCH, True), (OTHER, False)])
def test_a_head_runs_ahead_of_branches_only_if_each_of_them_reads_it(
    other: str, pays: bool
) -> None:
    cond = "%r = cond %q %h {\n" + BRANCH + "} else {\n" + other + "}\nreturn %r"
    assert ("ahead=true" in str(run(graph(lines(INPUT, HEAD) + "\n" + cond)))) == pays


def test_of_heads_behind_one_another_the_last_that_pays_runs_ahead() -> None:
    more = f"""
        %h2 = prefill %h @user "{LONG}" [engine="m"]
        %d = search null %q null [engine="s"]
        %t, %c2 = decode %h2 %d [engine="m"]
        return %t
    """
    after = f"""
        %c0 = context [engine="m"]
        %h2 = prefill %c0 @system "{LONG}" @user "{LONG}" [ahead=true, engine="m"]
        %d = search null %q null [engine="s"]
        %t, %c2 = decode %h2 %d [engine="m"]
        return %t
    """
    assert_rewrites(run, lines(INPUT, HEAD, more), lines(INPUT, after))


def test_a_short_piece_behind_a_head_that_runs_ahead_goes_with_its_readers() -> None:
    late = """
        %d = search null %q null [engine="s"]
        %h2 = prefill %h "Now:" [engine="m"] after %d
        %t, %a = decode %h2 "a" [engine="m"]
        %u, %b = decode %h2 "b" [engine="m"]
        return %t, %u
    """
    after = """
        %d = search null %q null [engine="s"]
        %t, %a = decode %h "Now:" "a" [engine="m"] after %d
        %u, %b = decode %h "Now:" "b" [engine="m"] after %d
        return %t, %u
    """
    assert_rewrites(run, lines(INPUT, HEAD, late), lines(INPUT, AHEAD, after))


def test_what_the_model_wrote_before_is_in_the_cache_already() -> None:
    turns = """
        %c0 = context [engine="m"]
        %t, %c1 = decode %c0 @user %q @assistant [engine="m"]
        %c2 = prefill %c1 @user "And?" @assistant [engine="m"]
        %u, %c3 = decode %c2 [engine="m"]
        %v, %c4 = decode %c2 [engine="m", temperature=1.0]
        return %u, %v
    """
    after = """
        %c0 = context [engine="m"]
        %t, %c1 = decode %c0 @user %q @assistant [engine="m"]
        %u, %c3 = decode %c1 @user "And?" @assistant [engine="m"]
        %v, %c4 = decode %c1 @user "And?" @assistant [engine="m", temperature=1.0]
        return %u, %v
    """
    assert_rewrites(run, lines(INPUT, turns), lines(INPUT, after))


def test_a_context_that_is_returned_stays() -> None:
    assert_keeps(run, lines(HEAD, "return %h"))
    given = """
        %g = input [engine="m", type="context"]
        %c1 = prefill %g @user "And?" [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        return %t, %c2
    """
    after = """
        %g = input [engine="m", type="context"]
        %t, %c2 = decode %g @user "And?" [engine="m"]
        return %t, %c2
    """
    assert_rewrites(run, lines(given), lines(after))


def test_an_adapter_that_a_reader_does_not_name_keeps_the_prefill() -> None:
    head = HEAD.replace('[engine="m"]', '[adapter="a", engine="m"]').replace(
        'context [adapter="a", ', "context ["
    )
    assert_keeps(run, lines(head, '%t, %c = decode %h [engine="m"]', "return %t"))


@pytest.mark.parametrize(
    "able", [{"prefill"}, {"prefill", "decode_parts"}, {"prefill", "warm_up"}, None]
)
def test_engines_without_the_capabilities_are_left_alone(able: set[str] | None) -> None:
    facts = Facts({} if able is None else {"m": frozenset(able)})
    given = lines(INPUT, HEAD, SEARCH, ASK, "return %t")
    assert_keeps(partial(warm_up, facts=facts), given)


class Prices:
    """0.1 s a call, 0.01 s a token, one second for a search."""

    def seconds(self, node: Node) -> float:
        if node.op == "prefill":
            return 0.1 + 0.01 * num_tokens(node.args[1:]) if "ahead" in node.attrs else 0.0
        return 1.0 if OPS[node.op].engine_kind is not None else 0.0


def priced(cost: CostModel, able: frozenset[str] = ABLE) -> Facts:
    return Facts({"m": able}, cost)


def test_where_seconds_are_known_they_decide() -> None:
    sharing = ABLE | {"shares_in_flight"}
    waits = lines(INPUT, HEAD, SEARCH, ASK, "return %t")
    forks = lines(HEAD, FORKS)
    for text, facts, tokens, pays in [
        (waits, priced(Prices(), sharing), 30, True),  # 0.3 s saved for a call of 0.1 s
        (waits, priced(Prices(), sharing), 8, False),
        (forks, priced(Prices()), 30, True),
        (forks, priced(Prices()), 8, False),
        (forks, priced(Prices(), sharing), 30, False),
    ]:
        given = graph(text.replace(LONG, "abcd" * tokens))
        assert ("ahead" in str(warm_up(given, facts))) == pays


def test_forks_of_a_head_that_is_not_known_are_for_the_runtime_to_look_at() -> None:
    forks = graph(lines(INPUT, HEAD.replace(f'"{LONG}"', "%q"), FORKS))
    assert "%q" in str(forks)
    assert "ahead" in str(warm_up(forks, priced(Prices())))
    assert "ahead" not in str(warm_up(forks, priced(Prices(), ABLE | {"shares_in_flight"})))


def test_a_wait_shorter_than_the_call_pays_nothing() -> None:
    class Quick(Prices):
        def seconds(self, node: Node) -> float:
            return 0.05 if node.op == "search" else super().seconds(node)

    waits = graph(lines(INPUT, HEAD, SEARCH, ASK, "return %t"))
    facts = priced(Quick(), ABLE | {"shares_in_flight"})
    assert "ahead" not in str(warm_up(waits, facts))


def test_equal_prompts_that_were_cut_in_two_ways_are_one() -> None:
    given = """
        %c0 = context [engine="m"]
        %a = prefill %c0 "one" "two" [engine="m"]
        %b0 = prefill %c0 "one" [engine="m"]
        %b = prefill %b0 "two" [engine="m"]
        %t, %c = decode %a [engine="m"]
        %u, %d = decode %b [engine="m"]
        return %t, %u
    """
    after = """
        %c0 = context [engine="m"]
        %t, %c = decode %c0 "one" "two" [engine="m"]
        return %t, %t
    """
    assert_rewrites(run, lines(given), lines(after))


def test_the_pipeline_cuts_the_head_that_is_warmed_during_retrieval() -> None:
    whole = f"""
        {SEARCH}
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @system "{LONG}" @user %d @assistant [engine="m"]
        %t, %c2 = decode %c1 [engine="m", max_tokens=9]
        return %t
    """
    after = f"""
        {SEARCH}
        %c0 = context [engine="m"]
        %c1.0 = prefill %c0 @system "{LONG}" @user [ahead=true, engine="m"]
        %t, %c2 = decode %c1.0 %d @assistant [engine="m", max_tokens=9]
        return %t
    """
    for facts in (SHARING, priced(Prices(), ABLE | {"shares_in_flight"})):
        assert_rewrites(partial(optimize, facts=facts), lines(INPUT, whole), lines(INPUT, after))


def test_the_tools_of_a_prompt_that_is_written_into_its_reader_go_with_it() -> None:
    given = """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Hi" @assistant [engine="m", tools=[{"name": "f"}]]
        %t, %c2 = decode %c1 [engine="m"]
        return %t
    """
    after = """
        %c0 = context [engine="m"]
        %t, %c2 = decode %c0 @user "Hi" @assistant [engine="m", tools=[{"name": "f"}]]
        return %t
    """
    assert_rewrites(run, lines(given), lines(after))


def test_a_select_reads_a_prefill_that_stays_with_the_client() -> None:
    assert_rewrites(
        run,
        """
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Is it" [engine="m"]
        %c2 = prefill %c1 @sp %q @assistant [engine="m"]
        %t, %s, %c3 = select %c2 ["yes", "no"] [engine="m"]
        %u, %c4 = decode %c3 [engine="m"]
        return %t, %u
        """,
        """
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %c2 = prefill %c0 @user "Is it" @sp %q @assistant [engine="m"]
        %t, %s, %c3 = select %c2 ["yes", "no"] [engine="m"]
        %u, %c4 = decode %c3 [engine="m"]
        return %t, %u
        """,
    )


def test_a_prefill_that_a_select_in_a_body_reads_stays_with_the_client() -> None:
    kept = """
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Is it right?" [engine="m"]
        %m = loop %q %c1 [max=2] {
          %x = input [type="str"]
          %c = input [engine="m", type="context"]
          %c2 = prefill %c @sp %x @assistant [engine="m"]
          %t, %s, %d = select %c2 ["yes", "no"] [engine="m"]
          return %t, %x
        }
        return %m
    """
    assert_rewrites(run, kept, kept)
