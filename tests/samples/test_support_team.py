"""The support team: who is asked, which records are read, and what needs a person's approval."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from samples import support_team
from samples.support_team import BANK, accounts, cards, purchases, replace_card

LOST = "I lost my card, send me a new one."


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


REPLACED = {
    r"Gold Rewards Card is ordered": "Your new card is on its way.",
    r"not allowed": "A colleague has to look at this first.",
    r"127\.43": call("replace_card", customer="Wei Chen", reason="lost"),
    r"Write the name alone": "cards",
    r"I lost my card": call("cards", customer="Wei Chen"),
}


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The script of the model; orders are forgotten afterwards."""
    script: dict[str, str] = {}
    monkeypatch.setattr(support_team.llm, "spec", tl.LLM("fake:", replies=script).spec)
    orders = copy.deepcopy(BANK["credit_card_orders"])
    yield script
    BANK["credit_card_orders"] = orders


def support(**options: Any) -> "tl.App[..., str]":
    """The app, traced anew, with no real engine."""
    app = tl.app(support_team.support._function)
    return app.using(engines={"store": "fake:", "embedder": "fake:"}, **options)


def test_the_specialist_reads_records_and_orders_what_a_person_approves(
    replies: dict[str, str],
) -> None:
    replies.update(REPLACED)
    asked: list[Any] = []

    def approve(question: str, subject: Any) -> bool:
        asked.append((question, dict(subject)))
        return True

    before = len(BANK["credit_card_orders"])
    assert support(approve=approve)(LOST) == "Your new card is on its way."
    wanted = {"customer": "Wei Chen", "reason": "lost"}
    assert asked == [("May cards call replace_card?", wanted)]
    order = list(BANK["credit_card_orders"].values())[before]
    assert order["credit_card_account_id"] == "cc_76ad9cc60e_gold"


@pytest.mark.parametrize("optimize", [True, False])
def test_nothing_is_ordered_without_approval(replies: dict[str, str], optimize: bool) -> None:
    replies.update(REPLACED)
    before = dict(BANK["credit_card_orders"])
    app = support(approve=lambda question, subject: False, optimize=optimize)
    assert app(LOST) == "A colleague has to look at this first."
    assert BANK["credit_card_orders"] == before


@pytest.mark.parametrize("desk", ["cards", "accounts", "payments"])
def test_one_specialist_answers_and_reads_what_the_documents_say(
    replies: dict[str, str], desk: str
) -> None:
    replies.update({r"Write the name alone": desk, r"(?s).+Customer: Mia Smith.*send": "So much."})
    events: list[Event] = []
    app = support(listener=events.append)
    assert app("How much can I send?", customer="Mia Smith") == "So much."
    started = {event.node for event in events if event.kind == "start"}
    others = {"cards", "accounts", "payments"} - {desk}
    assert any(desk in node for node in started)
    assert not any(other in node for node in started for other in others)


def test_records_are_those_of_the_customer() -> None:
    assert accounts("Mia Smith") == [
        "checking, Blue Account: $0",
        "saving, Bronze Account: $129.02",
    ]
    assert cards("Wei Chen") == ["Gold Rewards Card: $127.43 owed, 318 points"]
    assert purchases("Wei Chen") == ["10/18/2025 Whole Foods Market $127.43"]
    assert accounts("Wei Chen") == []
    assert replace_card.approval


def test_it_says_in_its_docstring_how_it_is_run() -> None:
    assert "run-graph samples/support_team.py:support" in (support_team.__doc__ or "")


@pytest.mark.model
def test_the_real_model_answers_from_the_documents_optimized_and_plain() -> None:
    answer = support_team.support()
    assert "$750" in answer
    assert support_team.support.using(optimize=False)() == answer
