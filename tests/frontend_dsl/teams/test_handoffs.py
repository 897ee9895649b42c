"""Agents that hand a conversation on to one another by a tool."""

import json
from typing import Any

import pytest

import teola as tl
from teola.errors import DefinitionError, HandoffInvalid

EMBEDDED = {"prefill", "fork", "structured", "seed", "stream", "abort"}  # no tools of its own
both_ways = pytest.mark.parametrize("optimize", [True, False])


def said(*calls: tuple[str, dict[str, Any]], content: str = "") -> str:
    texts = [json.dumps({"name": name, "arguments": given}) for name, given in calls]
    return content + "".join(f"<tool_call>{text}</tool_call>" for text in texts)


def lookup(name: str) -> int:
    """The balance of a customer."""
    return len(name) * 10


def team_of(replies: dict[str, str], **options: Any) -> Any:
    llm = tl.LLM("fake:", replies={rf"(?s){key}<\|assistant\|>$": v for key, v in replies.items()})
    triage = tl.Agent("triage", llm, instructions="You triage.", tools=[lookup])
    billing = tl.Agent("billing", llm, instructions="You bill.", description="Bills")
    tech = tl.Agent("tech", llm, instructions="You mend.\nAlways.")
    return tl.teams.handoffs(triage, billing, tech, **options)


@both_ways
def test_an_agent_hands_on_and_the_other_answers(optimize: bool) -> None:
    replies = {
        "You triage.*a bill.*": said(("transfer_to_billing", {"reason": "it is a bill"})),
        "You bill.*triage handed this to billing: it is a bill": "Your bill is paid.",
    }
    assert team_of(replies).using(optimize=optimize)("a bill") == "Your bill is paid."


def test_an_agent_that_does_not_hand_on_answers_itself() -> None:
    assert team_of({"You triage.*": "Hello."})("hi") == "Hello."


def test_the_next_agent_reads_what_was_said_and_found_out() -> None:
    note = r'triage handed this to tech\.\n- lookup\({"name": "A"}\): 10'
    replies = {
        rf"You mend\.\nAlways\..*help A<\|assistant\|>Let me see\. I ask tech\..*{note}": "all",
        r"You triage.*<\|tool\|>10": said(("transfer_to_tech", {}), content="I ask tech."),
        "You triage.*": said(("lookup", {"name": "A"}), content="Let me see."),
    }
    assert team_of(replies)("help A") == "all"


def test_the_next_agent_has_its_own_instructions_alone() -> None:
    replies = {
        "You triage.*You mend.*": "both",
        "You mend.*": "its own",
        "You triage.*": said(("transfer_to_tech", {})),
    }
    assert team_of(replies)("help") == "its own"


def test_a_conversation_goes_through_several_agents() -> None:
    replies = {
        "You triage.*": said(("transfer_to_tech", {"reason": "broken"})),
        "You mend.*": said(("transfer_to_billing", {"reason": "unpaid"})),
        "You bill.*to tech: broken.*to billing: unpaid.*": "pay first",
    }
    assert team_of(replies)("x") == "pay first"


def test_another_agent_may_begin() -> None:
    assert team_of({"You mend.*": "mended"}, start="tech")("x") == "mended"


def test_handing_on_without_end_is_an_error_that_shows_the_way() -> None:
    replies = {
        "You triage.*": said(("transfer_to_tech", {})),
        "You mend.*": said(("transfer_to_triage", {})),
    }
    with pytest.raises(HandoffInvalid, match="more than 2 times: triage -> tech -> triage -> tech"):
        team_of(replies, max_handoffs=2)("x")


def test_a_name_that_no_agent_has_is_told_and_then_an_error() -> None:
    told = {
        "no function.*": said(("transfer_to_tech", {})),
        "You triage.*": said(("transfer_to_nobody", {})),
        "You mend.*": "mended",
    }
    assert team_of(told)("x") == "mended"
    with pytest.raises(HandoffInvalid, match="'triage' hands on to 'nobody'"):
        team_of({"You triage.*": said(("transfer_to_nobody", {}))})("x")


def test_agents_are_told_what_the_others_are_for_also_on_engines_without_tools() -> None:
    known = r'(?s)You triage.*"transfer_to_tech", "description": "Hand .* to tech: You mend\.'
    replies = {
        r"(?s)You bill.*to billing: a bill": '{"content": "paid", "calls": []}',
        known: '{"content": "", "calls": [{"name": "transfer_to_billing", "arguments": {"reason": '
        '"a bill"}}]}',
    }
    llm = tl.LLM("fake:", replies=replies, capabilities=EMBEDDED)
    triage = tl.Agent("triage", llm, instructions="You triage.")
    billing = tl.Agent("billing", llm, instructions="You bill.", description="Bills")
    tech = tl.Agent("tech", llm, instructions="You mend.\nAlways.")
    assert tl.teams.handoffs(triage, billing, tech)("x") == "paid"


def test_hand_offs_stand_in_other_teams() -> None:
    inner = team_of({"You triage.*": said(("transfer_to_tech", {})), "You mend.*": "mended"})
    outer = tl.teams.sequence(inner, tl.Agent("end", tl.LLM("fake:", replies={"mended": "end"})))
    assert outer("x") == outer.using(optimize=False)("x") == "end"


def test_only_agents_hand_on() -> None:
    agent = tl.Agent("one", tl.LLM("fake:"))
    with pytest.raises(DefinitionError, match=r"takes tl\.Agents"):
        tl.teams.handoffs(agent, tl.teams.sequence(agent, name="two"))  # type: ignore[arg-type]


def test_who_begins_is_one_of_them() -> None:
    with pytest.raises(DefinitionError, match="is one of triage, billing, tech, not 'sales'"):
        team_of({}, start="sales")
