"""A run that names a tenant or a deadline hears of it where nothing goes by that, once."""

import warnings

import pytest

import teola as tl
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.policy.least_slack import least_slack
from backends.policy.vtc import vtc
from backends.registry import EngineSpec
from runtime.unread_options import OptionUnread, UnreadOptions

LOCAL = EngineSpec("llm", "local:smollm2-135m")


def test_it_is_said_once_of_each_option() -> None:
    unread = UnreadOptions()
    with pytest.warns(OptionUnread, match="tenant= changes nothing under the policy 'applic"):
        unread.check(["tenant"], [application_aware], [LOCAL])
    with pytest.warns(OptionUnread, match="deadline_s= .*policy='least_slack' goes by it"):
        unread.check(["tenant", "deadline_s"], [application_aware], [LOCAL])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unread.check(["tenant", "deadline_s"], [application_aware], [LOCAL])


@pytest.mark.parametrize(
    ("option", "policy", "engine"),
    [
        ("tenant", vtc, LOCAL),
        ("deadline_s", least_slack, LOCAL),
        ("tenant", Policy("mine", rank=lambda ticket: ticket.order), LOCAL),
        ("tenant", application_aware, EngineSpec("llm", "teola://host:8000")),
        ("tenant", application_aware, EngineSpec("llm", "local:smollm2-135m?policy=dlpm")),
        ("tenant", application_aware, EngineSpec("llm", "emulated:h100/llama-3.1-8b?policy=vtc")),
    ],
)
def test_nothing_is_said_where_something_may_go_by_it(
    option: str, policy: Policy, engine: EngineSpec
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UnreadOptions().check([option], [policy], [engine])


def test_an_app_says_it_of_its_own_tenant_and_not_of_its_salt() -> None:
    llm = tl.LLM("fake:")

    @tl.prompt(llm, max_tokens=2)
    def word(text: str) -> str:
        return f"Say {text}"

    @tl.app
    def say(text: str) -> str:
        return word(text)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say.using(salt="ada")("a")
        say.using(tenant="ada", policy="vtc")("a")
    with pytest.warns(OptionUnread, match="tenant= .*policy='dlpm' or 'vtc' goes by it"):
        say.using(tenant="eve")("a")
