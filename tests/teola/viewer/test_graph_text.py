from rich.console import Console

from teola.viewer.graph_text import styled, wrapped

LINE = '  %answer.prompt = prefill %c0 @user "Answer from these" %docs [engine="llm"] after %x'


def test_a_line_that_fits_stays_whole() -> None:
    assert [str(part) for part in wrapped(Console(width=100), styled(LINE))] == [LINE]


def test_a_long_line_is_wrapped_under_itself() -> None:
    parts = [str(part) for part in wrapped(Console(width=40), styled(LINE))]

    assert max(map(len, parts)) <= 40
    assert all(part.startswith("        ") for part in parts[1:])
    assert " ".join(part.strip() for part in parts) == LINE.strip()
