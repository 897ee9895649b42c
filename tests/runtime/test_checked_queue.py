"""A policy of a user's own may raise: its request is told so, and all others are served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import teola as tl
from backends.errors import PolicyFailed
from backends.place import Place
from backends.policy.base import FlowView, Policy, Ticket
from backends.policy.fcfs import fcfs
from runtime.waiting.checked_queue import CheckedQueue, queue_under
from runtime.waiting.ready_queue import ReadyQueue

FAILING = ("rank", "flow", "turn", "unit", "held_until_s")


def ticket(order: int) -> Ticket:
    return Ticket(order, float(order), Place(f"q{order % 3}", 1.0), "decode", 1)


def failing_at(function: str, nth: int) -> Policy:
    """One whose function raises in its nth call, and in each after it."""
    left = nth

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyError("no such tenant")

    def of_ticket(ticket: Ticket) -> float:
        count()
        return float(ticket.order % 5)

    def turn(flow: FlowView) -> float:
        count()
        return flow.first.arrival_s

    functions = dict.fromkeys(FAILING, of_ticket)
    changes = {function: turn if function == "turn" else functions[function]}
    return Policy("mine", **{"rank": lambda ticket: ticket.order, **changes})  # type: ignore[arg-type]


@given(
    st.sampled_from(FAILING),
    st.integers(0, 40),
    st.lists(st.sampled_from(["put", "put", "take", "remove"]), max_size=40),
    st.integers(1, 4),
)
def test_each_request_is_taken_or_removed_or_refused_once(
    function: str, nth: int, steps: list[str], max_items: int
) -> None:
    refused: list[Ticket] = []
    ended: list[Ticket] = []
    waiting: list[Ticket] = []
    num_put = 0

    def refuse(ticket: Ticket, error: PolicyFailed) -> None:
        assert "'mine' raised KeyError" in str(error)
        refused.append(ticket)
        waiting.remove(ticket)

    queue = CheckedQueue[Ticket](failing_at(function, nth), "llm", refuse)

    def take() -> None:
        for each in queue.take(max_items, 1e9):
            waiting.remove(each)
            ended.append(each)

    for step in steps:
        if step == "put":
            waiting.append(ticket(num_put))
            num_put += 1
            queue.put(waiting[-1])
        elif waiting and step == "remove":
            ended.append(waiting.pop())
            queue.remove(ended[-1])
        elif waiting:
            take()
        assert len(queue) == len(waiting)
    while waiting:
        take()
    assert sorted(each.order for each in [*ended, *refused]) == list(range(num_put))
    assert len(refused) <= 1
    assert queue.policy is fcfs or not refused


def test_policies_of_our_own_have_the_plain_queue() -> None:
    assert type(queue_under(fcfs, "llm", lambda *_: None)) is ReadyQueue


@pytest.mark.parametrize("url", ["fake:", "emulated:h100/llama-3.1-8b?tokenizer=bytes"])
def test_an_app_whose_policy_raises_is_told_and_others_go_on(url: str) -> None:
    llm = tl.LLM(url)

    @tl.prompt(llm, max_tokens=4)
    def say(text: str) -> str:
        return f"Say {text}"

    @tl.app
    def say_all(texts: list[str]) -> list[str]:
        return tl.map(say, texts)

    with pytest.raises(tl.errors.NodeFailed, match="policy 'mine' raised KeyError") as caught:
        say_all.using(policy=failing_at("rank", 5))(list("abcdefgh"))
    assert isinstance(caught.value.cause, PolicyFailed)
    assert len(say_all(["a", "b"])) == 2
