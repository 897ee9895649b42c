"""A bank's support team: a router hands each question to a specialist with tools of its own.

    run-graph samples/support_team.py:support --question "What is the most that I can send per day?"

Documents and customers are a part of tau2-bench's bank (Barres et al., 2025). Specialists are given
what the documents say and read the customer's records by typed tools; a person approves of what
changes something. The small default model seldom finds the right specialist; a larger one does.
"""

import json
from pathlib import Path
from typing import Any, Literal

import teola as tl

FOLDER = Path(__file__).parent / "data/banking"
DOCUMENTS = str(FOLDER / "documents.jsonl")
RULES = "Answer the question from the passages, in one sentence."

BANK: dict[str, dict[str, dict[str, Any]]] = json.loads((FOLDER / "db.json").read_text("utf-8"))

Customer = Literal[
    "Mia Smith", "Kenji Tanaka", "Wei Chen", "Margot Bellamy", "Valentina Kostopoulos",
    "Liang Jinhai",
]  # fmt: skip

llm = tl.LLM("local:smollm2-135m")
store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))


def records(table: str, customer: str) -> list[dict[str, Any]]:
    """What a table of the bank has on a customer."""
    (user,) = (row["user_id"] for row in BANK["users"].values() if row["name"] == customer)
    return [row for row in BANK[table].values() if row["user_id"] == user]


@tl.tool(reads=True)
def accounts(customer: Customer) -> list[str]:
    """The bank accounts of a customer, with their balances."""
    return [
        f"{row['class']}, {row['level']}: ${row['current_holdings']}"
        for row in records("accounts", customer)
    ]


@tl.tool(reads=True)
def cards(customer: Customer) -> list[str]:
    """The credit cards of a customer, with what is owed on them."""
    return [
        f"{row['card_type']}: {row['current_balance']} owed, {row['reward_points']}"
        for row in records("credit_card_accounts", customer)
    ]


@tl.tool(reads=True)
def purchases(customer: Customer) -> list[str]:
    """What a customer bought by credit card."""
    return [
        f"{row['transaction_date']} {row['merchant_name']} {row['transaction_amount']}"
        for row in records("credit_card_transaction_history", customer)
    ]


@tl.tool(approval=True)
def replace_card(customer: Customer, reason: Literal["lost", "stolen", "damaged"]) -> str:
    """Order a new credit card in place of a customer's first one."""
    card = records("credit_card_accounts", customer)[0]
    number = f"order_{len(BANK['credit_card_orders']) + 1}"
    order = {"credit_card_account_id": card["account_id"], "user_id": card["user_id"]}
    BANK["credit_card_orders"][number] = {**order, "reason": reason, "status": "ORDERED"}
    return f"A new {card['card_type']} is ordered: {number}."


def specialist(name: str, about: str, *tools: Any) -> "tl.Agent[str]":
    return tl.Agent(
        name,
        llm,
        instructions=RULES,
        description=about,
        tools=tools,
        max_turns=3,
        on_limit="answer",
        max_tokens=48,
        stop="\n",
    )


team = tl.teams.router(
    llm,
    {
        "cards": specialist(
            "cards", "credit cards, rewards and purchases", cards, purchases, replace_card
        ),
        "accounts": specialist("accounts", "checking and savings accounts", accounts),
        "payments": specialist("payments", "sending money to others, and its limits"),
    },
)


@tl.app
def support(
    question: str = "What is the most that I can send per day?", customer: str = "Wei Chen"
) -> str:
    """Answer a customer of the bank."""
    passages = tl.split(tl.load([DOCUMENTS]), chunk_tokens=200, overlap=0)
    found = tl.join(store.index(passages).search(question, k=1), "{text}")
    return team(f"{found}\n\nCustomer: {customer}\n\nQuestion: {question}")
