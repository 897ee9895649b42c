"""Documents in the order in which earlier prompts took them."""

from hypothesis import given
from hypothesis import strategies as st

from backends.documents import Doc
from runtime.prefix_orders import MAX_DOCUMENTS, PrefixOrders


def order(orders: PrefixOrders, items: str, head: str = "h", tenant: str | None = None) -> str:
    docs = [Doc(letter * 40) for letter in items]
    return "".join(doc.text[0] for doc in orders.order(tenant, head, docs))


def test_the_first_prompt_takes_them_as_they_come() -> None:
    assert order(PrefixOrders(), "cab") == "cab"


def test_later_ones_begin_as_earlier_ones_did() -> None:
    orders = PrefixOrders()
    order(orders, "abc")
    assert order(orders, "xcba") == "abcx"
    assert order(orders, "bxa") == "abx"
    assert order(orders, "cb") == "cb"  # none begins with c or b


def test_the_longest_beginning_counts() -> None:
    orders = PrefixOrders()
    order(orders, "ab")
    order(orders, "cde")
    assert order(orders, "abcde") == "cdeab"


def test_heads_and_tenants_have_orders_of_their_own() -> None:
    orders = PrefixOrders()
    order(orders, "ab")
    assert order(orders, "ba", head="other") == "ba"
    assert order(orders, "ba", tenant="t") == "ba"
    assert order(orders, "ba") == "ab"


def test_equal_documents_all_stay() -> None:
    orders = PrefixOrders()
    order(orders, "aba")
    assert order(orders, "baa") == "aba"


def test_what_was_not_read_lately_is_forgotten() -> None:
    orders = PrefixOrders()
    order(orders, "ab")
    for start in range(0, MAX_DOCUMENTS, 64):
        orders.order(None, "h", [f"{number}" for number in range(start, start + 64)])
    assert order(orders, "ba") == "ba"


@given(st.lists(st.text(alphabet="abcdef", max_size=6), max_size=20))
def test_nothing_is_lost_or_added(prompts: list[str]) -> None:
    orders = PrefixOrders()
    for prompt in prompts:
        assert sorted(order(orders, prompt)) == sorted(prompt)


def test_many_documents_in_many_orders_take_no_long_search() -> None:
    orders = PrefixOrders()
    letters = "abcdefghijklmnopqrst"
    for start in range(len(letters)):
        orders.order(None, "h", list(letters[start:] + letters[:start]))
    found = orders.order(None, "h", list(letters))
    assert sorted(found) == list(letters)
