"""Where a prompt's documents may come in another order, which prompts share one."""

import re

from graph_text import graph

from graph_opt.passes.order_documents import order_documents


def prompt(name: str, head: str = '"Passages:"', attrs: str = "") -> str:
    return f"""
    %{name}.docs = order %docs
    %{name}.text = join %{name}.docs
    %{name}.1 = prefill %c0 @user {head} %{name}.text "Why?" %q [engine="m"{attrs}]
    %{name}, %{name}.2 = decode %{name}.1 [engine="m"]
    """


def lines(*prompts: str) -> str:
    return f"""
    %q = input [type="str"]
    %docs = input [type="list[Doc]"]
    %c0 = context [engine="m"]
    {"".join(prompts)}
    return %q
    """


def names(text: str) -> list[str]:
    return re.findall(r'by="(\w+)"', str(order_documents(graph(text))))


def test_prompts_of_one_head_share_an_order() -> None:
    one, same, other = names(lines(prompt("a"), prompt("b"), prompt("d", '"Look:"')))
    assert one == same != other


def test_another_adapter_is_another_head() -> None:
    one, other = names(lines(prompt("a"), prompt("b", attrs=', adapter="x"')))
    assert one != other


def test_documents_behind_a_value_of_the_query_stay_as_they_are() -> None:
    assert names(lines(prompt("a", '"Passages for" %q'))) == []
