from functools import partial

from graph_text import assert_keeps, assert_rewrites

from graph_opt.facts import Facts
from graph_opt.passes.coalesce import coalesce

REMOTE = Facts({"m": frozenset({"structured"}), "n": frozenset({"prefill"})})
run = partial(coalesce, facts=REMOTE)

CHAIN = """
    %q = input [type="str"]
    %c0 = context [engine="{engine}"]
    %c1 = prefill %c0 @system "Be brief." @user [engine="{engine}"]
    %c2 = prefill %c1 @sp %q @assistant [engine="{engine}"]
    %t, %c3 = decode %c2 [engine="{engine}", max_tokens=9]
    return %t
"""


def test_prefills_and_their_decode_become_one_call() -> None:
    assert_rewrites(
        run,
        CHAIN.format(engine="m"),
        """
        %q = input [type="str"]
        %t = generate @system "Be brief." @user @sp %q @assistant [engine="m", max_tokens=9]
        return %t
        """,
    )


def test_engines_that_can_prefill_or_are_unknown_keep_their_contexts() -> None:
    assert_keeps(run, CHAIN.format(engine="n"))
    assert_keeps(run, CHAIN.format(engine="other"))
    assert_keeps(coalesce, CHAIN.format(engine="m"))


def test_a_context_read_by_several_decodes_is_written_out_in_each() -> None:
    assert_rewrites(
        run,
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "Hi" [engine="m"]
        %c2 = prefill %c1 "a" [engine="m"]
        %t, %d = decode %c1 [engine="m"]
        %u, %e = decode %c2 [engine="m", temperature=1]
        return %t, %u
        """,
        """
        %t = generate "Hi" [engine="m"]
        %u = generate "Hi" "a" [engine="m", temperature=1]
        return %t, %u
        """,
    )


def test_earlier_turns_are_part_of_the_prompt() -> None:
    assert_rewrites(
        run,
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Hi" @assistant [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        %c3 = prefill %c2 @user "And?" @assistant [engine="m"]
        %u, %c4 = decode %c3 [engine="m"]
        return %u
        """,
        """
        %t = generate @user "Hi" @assistant [engine="m"]
        %u = generate @user "Hi" @assistant %t @user "And?" @assistant [engine="m"]
        return %u
        """,
    )


def test_captured_contexts_are_written_out_in_the_body() -> None:
    assert_rewrites(
        run,
        """
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Rate" %q [engine="m"]
        %m = map %q %c1 "z" {
          %x = input [type="str"]
          %c = input [type="context"]
          %z = input [type="str"]
          %d = prefill %c %x %z [engine="m"]
          %t, %e = decode %d [engine="m"]
          return %t
        }
        return %m
        """,
        """
        %q = input [type="str"]
        %m = map %q %q "z" {
          %x = input [type="str"]
          %c.0 = input [type="Any"]
          %z = input [type="str"]
          %t = generate @user "Rate" %c.0 %x %z [engine="m"]
          return %t
        }
        return %m
        """,
    )


def test_a_context_that_is_returned_or_given_stays() -> None:
    assert_keeps(
        run,
        """
        %g = input [type="context"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "Hi" [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        %u, %h = decode %g [engine="m"]
        return %t, %c2, %u
        """,
    )


def test_the_order_of_the_prefills_is_kept() -> None:
    assert_rewrites(
        run,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = call %q [fn="g"] after %a
        %c0 = context [engine="m"] after %a
        %c1 = prefill %c0 "Hi" [engine="m"] after %b
        %t, %c2 = decode %c1 [engine="m"]
        %d = call %q [fn="h"] after %c1
        return %t
        """,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = call %q [fn="g"] after %a
        %t = generate "Hi" [engine="m"] after %a, %b
        %d = call %q [fn="h"] after %a, %b
        return %t
        """,
    )


def test_the_order_of_the_prefills_of_a_captured_context_is_kept() -> None:
    body = """{
          %x = input [type="str"]
          BODY
          %y = call %t [fn="g"]
          return %y
        }"""
    captured = '%c = input [type="context"]\n          %t, %d = decode %c [engine="m"]'
    assert_rewrites(
        run,
        f"""
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "Hi" [engine="m"] after %a
        %m = map %q %c1 [order="sequential"] {body.replace("BODY", captured)}
        return %m
        """,
        f"""
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %m = map %q [order="sequential"] after %a {
            body.replace("BODY", '%t = generate "Hi" [engine="m"]')
        }
        return %m
        """,
    )


def test_the_tools_that_open_a_conversation_go_with_all_of_its_calls() -> None:
    assert_rewrites(
        run,
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Hi" @assistant [engine="m", tools=[{"name": "f"}]]
        %t, %c2 = decode %c1 [engine="m", tool_choice="f"]
        %c3 = prefill %c2 @tool "1" @assistant [engine="m"]
        %u, %c4 = decode %c3 [engine="m", tool_choice="auto"]
        return %u
        """,
        """
        %t = generate @user "Hi" @assistant [engine="m", tool_choice="f", tools=[{"name": "f"}]]
        %u = generate @user "Hi" @assistant %t @tool "1" @assistant \
[engine="m", tool_choice="auto", tools=[{"name": "f"}]]
        return %u
        """,
    )


def test_the_tools_of_a_captured_context_go_into_the_body() -> None:
    assert_rewrites(
        run,
        """
        %q = input [type="list"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "Hi" [engine="m", tools=[{"name": "f"}]]
        %m = map %q %c1 {
          %x = input [type="str"]
          %c = input [type="context"]
          %t, %d = decode %c %x [engine="m"]
          return %t
        }
        return %m
        """,
        """
        %q = input [type="list"]
        %m = map %q {
          %x = input [type="str"]
          %t = generate "Hi" %x [engine="m", tools=[{"name": "f"}]]
          return %t
        }
        return %m
        """,
    )


def test_a_select_keeps_its_context_and_its_choice_is_part_of_later_prompts() -> None:
    assert_rewrites(
        run,
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Is it?" @assistant [adapter="x", engine="m"]
        %t, %s, %c2 = select %c1 ["yes", "no"] [adapter="x", engine="m"]
        %c3 = prefill %c2 @user "Why?" @assistant [adapter="x", engine="m"]
        %u, %c4 = decode %c3 [adapter="x", engine="m"]
        return %t, %u
        """,
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Is it?" @assistant [adapter="x", engine="m"]
        %t, %s, %c2 = select %c1 ["yes", "no"] [adapter="x", engine="m"]
        %u = generate @user "Is it?" @assistant %t @user "Why?" @assistant [adapter="x", engine="m"]
        return %t, %u
        """,
    )


def test_in_a_body_a_select_has_a_context_of_its_own() -> None:
    assert_rewrites(
        run,
        """
        %q = input [type="list"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "Hi" [engine="m"]
        %m = map %q %c1 {
          %x = input [type="str"]
          %c = input [type="context"]
          %c2 = prefill %c %x [engine="m"]
          %t, %s, %d = select %c2 ["yes", "no"] [engine="m"]
          return %t
        }
        return %m
        """,
        """
        %q = input [type="list"]
        %m = map %q {
          %x = input [type="str"]
          %t.empty = context [engine="m"]
          %t.prompt = prefill %t.empty "Hi" %x [engine="m"]
          %t, %s, %d = select %t.prompt ["yes", "no"] [engine="m"]
          return %t
        }
        return %m
        """,
    )
