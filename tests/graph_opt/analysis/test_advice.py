from graph_text import graph

from graph_opt.analysis.advice import Advice, layout_advice

LATE = """
    %question = input [type="str"]
    %docs = search null %question [engine="s"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 @system "Be brief." @user {parts} @assistant [engine="m"]
    %t, %c2 = decode %c1 [engine="m"]
    return %t
"""
RULES = '"Answer from these passages only."'


def test_a_late_part_before_early_ones_is_shown_with_what_it_holds_up() -> None:
    (advice,) = layout_advice(graph(LATE.format(parts=f"%docs {RULES} @sp %question")))
    assert advice == Advice(
        "c1",
        None,
        "move %docs behind what follows it, which is known before: about 24 tokens could then be "
        "prefilled while %docs is being made",
        24,
    )


def test_a_prompt_in_the_best_order_needs_no_advice() -> None:
    assert layout_advice(graph(LATE.format(parts=f"{RULES} %question %docs"))) == []


def test_little_text_behind_a_late_part_is_not_worth_a_word() -> None:
    late = graph(LATE.format(parts='%docs "Be kind."'))
    assert layout_advice(late) == []
    assert [advice.num_tokens for advice in layout_advice(late, min_tokens=2)] == [2]


def test_text_is_not_moved_between_turns() -> None:
    assert (
        layout_advice(graph(LATE.format(parts=f"%docs @assistant {RULES} @user %question"))) == []
    )


def test_a_context_that_is_late_itself_makes_all_wait() -> None:
    late = graph(
        f"""
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %t, %c1 = decode %c0 [engine="m"]
        %c2 = prefill %c1 %t {RULES} [engine="m"]
        return %q
        """
    )
    assert layout_advice(late) == []


def test_an_items_own_part_before_what_all_items_share_is_shown() -> None:
    mapped = graph(
        f"""
        %qs = input [type="list"]
        %rules = input [type="str"]
        %m = map %qs %rules {{
          %x = input [type="str"]
          %r = input [type="str"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 @user %x {RULES} %r [engine="m"]
          %c2 = prefill %c1 @user %x {RULES} [engine="m"]
          %t, %c3 = decode %c2 [engine="m"]
          return %t
        }}
        return %m
        """
    )
    (advice,) = layout_advice(mapped)
    assert advice.node == "m[].c1"
    assert advice.message == (
        "move %x, which differs from item to item, behind what follows it: about 24 tokens "
        "could then be prefilled once for all items"
    )


def test_the_branches_of_a_cond_share_nothing_so_get_no_such_advice() -> None:
    branched = graph(
        f"""
        %q = input [type="str"]
        %a = cond %q %q {{
          %x = input [type="str"]
          %t = generate %x {RULES} [engine="m"]
          return %t
        }} else {{
          %x = input [type="str"]
          return %x
        }}
        return %a
        """
    )
    assert layout_advice(branched) == []
