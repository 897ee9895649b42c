"""What clients of a server say of their queries moves their own requests only."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backends.place import Place
from backends.policy.among_clients import ClientTurns, in_their_turns

Item = tuple[str, int]  # client, number


@given(st.lists(st.sampled_from(["", "a", "b", "c"])), st.randoms(use_true_random=False))
def test_every_client_keeps_its_turns_and_orders_its_own(clients: list[str], random: Any) -> None:
    plain: Sequence[Item] = [(client, number) for number, client in enumerate(clients)]
    believed = random.sample(plain, len(plain))
    found = in_their_turns(plain, believed, lambda item: item[0])
    assert [client for client, _ in found] == clients
    for client in set(clients):
        wanted = believed if client else plain
        own = [item for item in wanted if item[0] == client]
        assert [item for item in found if item[0] == client] == own


@given(st.lists(st.sampled_from("abc")), st.randoms(use_true_random=False))
def test_clients_are_served_by_arrival_whatever_they_say(clients: list[str], random: Any) -> None:
    turns = ClientTurns[Item](lambda item: item[0], lambda item: item[1])
    left: list[Item] = [(client, number) for number, client in enumerate(clients)]
    served = []
    while left:
        first = turns.order(random.sample(left, len(left)))[0]
        left.remove(first)
        served.append(first[0])
    assert served == clients


def test_a_request_that_is_kept_waiting_keeps_no_turn_for_its_client() -> None:
    turns = ClientTurns[Item](lambda item: item[0], lambda item: item[1])
    kept, other = ("a", 0), ("b", 1)
    assert turns.order([("a", 2), kept, other])[0] == ("a", 2)
    assert turns.order([("a", 3), kept, other])[0] == other


def asked(driven: Any, client: str, query: str, left_s: float) -> Any:
    sequence = driven.add(4, num_output=3)
    sequence.request.place = Place(query, left_s, client=client)
    return sequence


def test_a_client_orders_its_own_queries_and_passes_no_other_client(
    engine: Callable[..., Any],
) -> None:
    driven = engine(policy="application_aware", max_running=1)
    long = asked(driven, "a", "long", 40.0)
    other = asked(driven, "b", "other", 9.0)
    of_nobody = driven.add(4, num_output=3)
    short = asked(driven, "a", "short", 0.0)
    driven.run()
    order = [short, other, of_nobody, long]
    assert driven.finished == [sequence.request.id for sequence in order]


def test_what_a_server_knows_of_a_tenant_counts_where_a_client_says_nothing(
    engine: Callable[..., Any],
) -> None:
    driven = engine(policy="vtc", max_running=1)
    sequences = [driven.add(40, num_output=2) for _ in range(6)]
    for number, sequence in enumerate(sequences):
        tenant = "greedy" if number < 4 else "modest"
        sequence.request.place = Place("", 0.0, tenant=tenant)
    driven.run()
    modest = {sequence.request.id for sequence in sequences[4:]}
    assert sum(name in modest for name in driven.finished[:4]) == 2
