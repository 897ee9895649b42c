from graph_text import assert_keeps, assert_rewrites

from graph_opt.passes.stream_decode import stream_decode

WRITTEN = """
    %c0 = context [engine="m"]
    %json, %c1 = decode %c0 [engine="m"]
    {lists}
    %m = map {items} {{
      %x = input [type="str"]
      %v = embed %x [engine="e"]
      return %v
    }}
    return %m{more}
"""
PARSED = """%q = parse %json [type="Queries"]
    %list = get %q [items="Queries.queries", list=true, path=["queries"]]"""
ELEMENTS = '%list = elements ~%json [items="Queries.queries", path=["queries"], type="Queries"]'


def test_a_list_that_is_mapped_is_read_out_of_the_text_as_it_grows() -> None:
    assert_rewrites(
        stream_decode,
        WRITTEN.format(lists=PARSED, items="%list", more=""),
        WRITTEN.format(lists=ELEMENTS, items="~%list", more=""),
    )


def test_the_parsed_value_stays_for_others_and_the_list_may_be_read_whole_too() -> None:
    title = '%title = get %q [path=["title"]]'
    kept = f'%q = parse %json [type="Queries"]\n    {ELEMENTS}\n    {title}'
    assert_rewrites(
        stream_decode,
        WRITTEN.format(lists=f"{PARSED}\n    {title}", items="%list", more=", %title, %list"),
        WRITTEN.format(lists=kept, items="~%list", more=", %title, %list"),
    )


def test_a_field_of_a_field_is_found_by_its_path() -> None:
    assert_rewrites(
        stream_decode,
        WRITTEN.format(
            lists="""%q = parse %json [type="Plan"]
    %a = get %q [path=["steps"]]
    %b = get %a [path=["first", "kin"]]
    %list = get %b [items="Plan.names", list=true, path=["names"]]""",
            items="%list",
            more="",
        ),
        WRITTEN.format(
            lists='%list = elements ~%json [items="Plan.names", '
            'path=["steps", "first", "kin", "names"], type="Plan"]',
            items="~%list",
            more="",
        ),
    )


def test_a_text_that_is_a_list_as_a_whole_has_an_empty_path() -> None:
    assert_rewrites(
        stream_decode,
        WRITTEN.format(
            lists='%list = parse %json [items="str", type="list[str]"]',
            items="%list",
            more="",
        ),
        WRITTEN.format(
            lists='%list = elements ~%json [items="str", path=[], type="list[str]"]',
            items="~%list",
            more="",
        ),
    )


def test_lines_are_taken_as_they_are_written() -> None:
    lines = '%list = elements {text} [parser="lines"]'
    assert_rewrites(
        stream_decode,
        WRITTEN.format(lists=lines.format(text="%json"), items="%list", more=""),
        WRITTEN.format(lists=lines.format(text="~%json"), items="~%list", more=""),
    )


def test_a_list_whose_type_does_not_let_items_stand_alone_stays_parsed() -> None:
    lists = """%q = parse %json [type="Queries"]
    %list = get %q [list=true, path=["queries"]]"""
    assert_keeps(stream_decode, WRITTEN.format(lists=lists, items="%list", more=""))


def test_elements_take_the_place_of_the_parsing_so_that_effects_stay_behind_it() -> None:
    sent = '%sent = call "x" [fn="send"] after {after}'
    parsed = PARSED.replace("\n", f"\n    {sent.format(after='%q')}\n")
    assert_rewrites(
        stream_decode,
        WRITTEN.format(lists=parsed, items="%list", more=", %sent"),
        WRITTEN.format(
            lists=f"{ELEMENTS}\n    {sent.format(after='%list')}", items="~%list", more=", %sent"
        ),
    )


def test_where_the_parsing_stays_effects_wait_for_both() -> None:
    sent = '%sent = call "x" [fn="send"] after {after}\n    %title = get %q [path=["title"]]'
    parsed = PARSED.replace("\n", f"\n    {sent.format(after='%q')}\n")
    kept = (
        f'%q = parse %json [type="Queries"]\n    {ELEMENTS}\n    {sent.format(after="%q, %list")}'
    )
    assert_rewrites(
        stream_decode,
        WRITTEN.format(lists=parsed, items="%list", more=", %sent, %title"),
        WRITTEN.format(lists=kept, items="~%list", more=", %sent, %title"),
    )


def test_two_lists_of_one_text_are_both_read_as_it_grows() -> None:
    other = '%other = get %q [items="Queries.words", list=true, path=["words"]]'
    vectors = '%v = embed {} [engine="e"]'
    elements = '%other = elements ~%json [items="Queries.words", path=["words"], type="Queries"]'
    assert_rewrites(
        stream_decode,
        WRITTEN.format(
            lists=f"{PARSED}\n    {other}\n    {vectors.format('%other')}",
            items="%list",
            more=", %v",
        ),
        WRITTEN.format(
            lists=f"{ELEMENTS}\n    {elements}\n    {vectors.format('~%other')}",
            items="~%list",
            more=", %v",
        ),
    )


def test_what_is_no_list_or_not_read_item_by_item_stays_parsed() -> None:
    assert_keeps(
        stream_decode,
        """
        %c0 = context [engine="m"]
        %json, %c1 = decode %c0 [engine="m"]
        %q = parse %json [type="Queries"]
        %some = get %q [path=["some"]]
        %m = map %some {
          %x = input [type="str"]
          return %x
        }
        %list = get %q [items="Queries.queries", list=true, path=["queries"]]
        %text = join %list
        %one = get %q [items="Queries.words", list=true, path=["queries", 0, "words"]]
        %v = embed %one [engine="e"]
        return %m, %text, %v
        """,
    )


def test_a_text_that_no_model_writes_is_parsed_as_a_whole() -> None:
    assert_keeps(
        stream_decode,
        """
        %json = input [type="str"]
        %q = parse %json [type="Queries"]
        %list = get %q [items="Queries.queries", list=true, path=["queries"]]
        %v = embed %list [engine="e"]
        return %v
        """,
    )


def test_a_reader_that_needs_the_whole_value_too_gains_nothing() -> None:
    assert_keeps(
        stream_decode,
        """
        %c0 = context [engine="m"]
        %json, %c1 = decode %c0 [engine="m"]
        %q = parse %json [type="Queries"]
        %list = get %q [items="Queries.queries", list=true, path=["queries"]]
        %m = map %list %q {
          %x = input [type="str"]
          %q = input [type="Queries"]
          %t = format %x %q
          return %t
        }
        return %m
        """,
    )


def test_the_order_of_the_parsing_is_kept() -> None:
    assert_rewrites(
        stream_decode,
        """
        %a = call "x" [fn="f"]
        %c0 = context [engine="m"]
        %json, %c1 = decode %c0 [engine="m"]
        %q = parse %json [type="Queries"] after %a
        %list = get %q [items="Queries.queries", list=true, path=["queries"]]
        %v = embed %list [engine="e"]
        return %v
        """,
        """
        %a = call "x" [fn="f"]
        %c0 = context [engine="m"]
        %json, %c1 = decode %c0 [engine="m"]
        %list = elements ~%json [items="Queries.queries", path=["queries"], type="Queries"] after %a
        %v = embed ~%list [engine="e"]
        return %v
        """,
    )


def test_what_follows_a_list_that_comes_earlier_now_has_no_edge_to_it_that_others_imply() -> None:
    assert_rewrites(
        stream_decode,
        """
        %c0 = context [engine="m"]
        %json, %c1 = decode %c0 [engine="m"]
        %q = parse %json [type="Queries"]
        %a = call "x" [fn="f"] after %q
        %list = get %q [items="Queries.queries", list=true, path=["queries"]]
        %b = call "x" [fn="f"] after %a, %list
        %v = embed %list [engine="e"]
        return %q, %b, %v
        """,
        """
        %c0 = context [engine="m"]
        %json, %c1 = decode %c0 [engine="m"]
        %q = parse %json [type="Queries"]
        %list = elements ~%json [items="Queries.queries", path=["queries"], type="Queries"]
        %a = call "x" [fn="f"] after %q, %list
        %b = call "x" [fn="f"] after %a
        %v = embed ~%list [engine="e"]
        return %q, %b, %v
        """,
    )


def test_a_reader_does_not_hold_up_what_another_of_its_streams_has_to_start_after() -> None:
    lines = """
        %c0 = context [engine="m"]
        %one, %c1 = decode %c0 [engine="m"]
        %first = elements {first} [parser="lines"]
        %two, %c2 = decode %c1 [engine="m"]
        %second = elements {second} [parser="lines"]
        %both = concat %first %second
        %v = embed {both} [engine="e"]
        return %v
    """
    whole = lines.format(first="%one", second="%two", both="%both")
    assert_rewrites(stream_decode, whole, whole)
