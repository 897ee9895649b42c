from graph_text import graph, wrap

from graph_opt.plain import as_written


def test_an_effect_comes_after_the_parsing_and_the_fields_before_it() -> None:
    before = """
        %text = input [type="str"]
        %order = parse %text [type="Order"]
        %item = get %order [path=["item"]]
        %a = embed %text [engine="e"]
        %sent = call "x" [fn="send"] after %a
        %found = search null %item [engine="s"] after %sent
        return %item, %found, %a
    """
    after = before.replace("after %a", "after %item, %a")
    assert str(as_written(graph(before))) == wrap(after)
    assert as_written(graph(after)) == graph(after)


def test_what_nobody_uses_is_no_part_of_the_meaning_and_holds_no_effect_back() -> None:
    before = """
        %text = input [type="str"]
        %unused = embed %text [engine="e"]
        %sent = call "x" [fn="send"]
        return %text
    """
    after = """
        %text = input [type="str"]
        %sent = call "x" [fn="send"]
        return %text
    """
    assert str(as_written(graph(before))) == wrap(after)


def test_a_check_whose_value_nobody_reads_still_holds_effects_back() -> None:
    before = """
        %text = input [type="str"]
        %unused = call %text [fn="check", pure=true]
        %order = parse %text [type="Order"]
        %sent = call "x" [fn="send"]
        return %text
    """
    after = before.replace('[fn="send"]', '[fn="send"] after %unused, %order')
    assert str(as_written(graph(before))) == wrap(after)


def test_a_read_comes_after_the_writes_before_it_also_in_bodies() -> None:
    lines = """
        %qs = input [type="list"]
        %m = map %qs [order="sequential"] {{
          %q = input [type="str"]
          %i = ingest %q [engine="s"]
          %h = search null %q [engine="s"]{after}
          return %h
        }}
        return %m
    """
    assert str(as_written(graph(lines.format(after="")))) == wrap(lines.format(after=" after %i"))
