"""The parts of routing by themselves: pages, the index, the breaker, speeds, limits."""

import asyncio
from random import Random

import pytest
from servers import words

from backends.base import Request, Tokens, Turn, Usage
from backends.documents import Doc
from backends.rate_limits import Allowance, RateReport
from backends.remote.routing.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_FAILURES, Breaker
from backends.remote.routing.prefix_index import PrefixIndex
from backends.remote.routing.prompt_pages import PAGE_BYTES, PAGE_IDS, Prompt, prompt_of
from backends.remote.routing.rate_sum import RateSum
from backends.remote.routing.room import Room
from backends.remote.routing.speed import Speed, prefill_rates
from backends.remote.routing.text_ratio import TextRatio
from backends.remote.routing.trip import Trip
from runtime.clock import run_virtual


class IdsContext:
    """A context of token ids."""

    def __init__(self, ids: list[int], adapter: str | None = None) -> None:
        self.ids = ids
        self.adapter = adapter

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    def release(self) -> None:
        """Nothing to give up."""


def prompt(*parts: object, op: str = "generate", **attrs: object) -> Prompt:
    return prompt_of([Request("0" * 32, op, parts, attrs)])


def common(one: Prompt, other: Prompt) -> int:
    pairs = zip(one.keys, other.keys, strict=False)
    return sum(a == b for a, b in pairs)


def test_prompts_that_begin_alike_have_the_same_first_pages() -> None:
    head = "x" * (PAGE_BYTES * 3)
    one, other = prompt(head, "a" * 500), prompt(head + "b" * 500)
    assert common(one, other) == 3
    assert len(one.keys) == (PAGE_BYTES * 3 + 500) // PAGE_BYTES


def test_a_page_stands_for_all_that_is_before_it() -> None:
    one = prompt("a" + "x" * 1000)
    other = prompt("b" + "x" * 1000)
    assert common(one, other) == 0


def test_adapters_salts_and_turns_keep_prompts_apart() -> None:
    text = "x" * 1000
    plain = prompt(text)
    assert common(plain, prompt(text, cache_salt="tenant")) == 0
    assert common(plain, prompt(text, adapter="french")) == 0
    assert common(plain, prompt(Turn("user"), text)) == 0
    assert common(plain, prompt(Tokens((1, 2)), text)) == 0
    assert common(plain, prompt(IdsContext([], adapter="french"), text, op="decode")) == 0


def test_a_context_of_ids_has_pages_of_ids_and_then_of_text() -> None:
    ids = list(range(PAGE_IDS * 2 + 5))
    one = prompt(IdsContext(ids), "a" * PAGE_BYTES, op="decode")
    other = prompt(IdsContext(ids), "b" * PAGE_BYTES, op="decode")
    assert len(one.keys) == 3
    assert common(one, other) == 2
    assert one.tokens_of_pages(2, 0.25) == 2 * PAGE_IDS
    assert one.tokens_of_pages(3, 0.25) == len(ids) + PAGE_BYTES / 4
    assert one.num_tokens(0.25) == len(ids) + PAGE_BYTES / 4


def test_a_batch_of_texts_has_their_size() -> None:
    requests = [
        Request("0" * 32, "embed", (["abc", "de"],)),
        Request("1" * 32, "embed", (Doc("x" * 10),)),
    ]
    assert prompt_of(requests) == Prompt(num_bytes=15)


def test_the_index_counts_pages_once_they_are_computed() -> None:
    index = PrefixIndex(shares_in_flight=False)
    index.sent([1, 2, 3])
    assert index.match([1, 2, 3]) == 0
    index.computed([1, 2])
    assert index.match([1, 2, 3]) == 2
    shared = PrefixIndex(shares_in_flight=True)
    shared.sent([1, 2])
    assert shared.match([1, 2, 3]) == 2


def test_the_index_forgets_the_tail_that_was_not_used_for_longest() -> None:
    index = PrefixIndex(shares_in_flight=True, max_pages=5)
    index.sent([1, 2, 3])
    index.sent([1, 9])
    index.sent([7, 8])
    assert index.match([1, 2, 3]) == 2
    assert index.match([1, 9]) == 2
    index.shrink()
    assert len(index) == 4
    index.sent([1, 2, 3])
    assert len(index) == 4
    index.grow()
    index.sent([1, 2, 3, 4, 5, 6])
    assert len(index) == 5


def test_the_breaker_opens_after_failures_in_a_row_and_closes_after_a_success() -> None:
    breaker = Breaker(Random(1).random)
    for i in range(MAX_FAILURES - 1):
        assert not breaker.failed("reset", float(i))
    breaker.succeeded()
    for _ in range(MAX_FAILURES - 1):
        assert not breaker.failed("reset", 3.0)
    assert breaker.state(3.0) == "closed"
    assert breaker.failed("refused", 3.0)
    assert breaker.state(3.1) == "open"
    assert breaker.reason == "refused"
    assert breaker.state(3.0 + FIRST_PAUSE_S) == "half-open"
    breaker.begin_probe()
    assert breaker.state(3.0 + FIRST_PAUSE_S) == "open"  # for all others
    breaker.succeeded()
    assert breaker.state(3.0 + FIRST_PAUSE_S) == "closed"


def test_the_pause_doubles_with_each_probe_that_fails_up_to_a_bound_with_jitter() -> None:
    draw = Random(1)
    pauses: list[list[float]] = []
    for _ in range(20):
        breaker, now_s = Breaker(draw.random), 0.0
        breaker.failed("refused", now_s, is_final=True)
        pauses.append([])
        for _ in range(8):
            pauses[-1].append(breaker.retry_in_s(now_s))
            now_s += pauses[-1][-1]
            breaker.begin_probe()
            assert breaker.failed("refused", now_s)
    for number, drawn in enumerate(zip(*pauses, strict=True)):
        most = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**number)
        assert most / 2 <= min(drawn) < max(drawn) <= most


def test_failures_of_requests_on_their_way_do_not_lengthen_the_pause() -> None:
    breaker = Breaker(lambda: 1.0)
    breaker.failed("refused", 0.0, is_final=True)
    assert not breaker.failed("reset", 0.5)
    assert breaker.retry_in_s(0.5) == pytest.approx(FIRST_PAUSE_S - 0.5)


def test_speed_is_learned_from_first_tokens_and_from_whole_answers() -> None:
    streams, whole = Speed(), Speed()
    for i in range(5):
        streams.saw_first_token(0.5, 1000, float(i))
        streams.saw_text(1.0, 50, float(i))
    assert streams.prefill_token_s == pytest.approx(0.0005)
    assert streams.decode_token_s == pytest.approx(0.02)
    for i in range(5):
        whole.saw_whole(0.5, 1000, 0, float(i))
    assert whole.prefill_token_s == pytest.approx(0.0005)
    whole.saw_first_token(9.0, 3, 6.0)  # whose time is not that of three tokens
    assert whole.prefill_token_s == pytest.approx(0.0005)


def test_what_is_not_known_of_an_endpoint_is_as_at_the_others() -> None:
    known, unknown = Speed(), Speed()
    known.saw_first_token(1.0, 1000, 0.0)
    assert prefill_rates([known, unknown], 0.0) == pytest.approx([0.001, 0.001])
    unknown.saw_first_token(9.0, 1000, 0.0)
    assert prefill_rates([known, unknown], 0.0) == pytest.approx([0.001, 0.009])
    later = prefill_rates([known, unknown], 600.0)
    assert later[1] / later[0] < 1.05


def test_tokens_of_a_byte_are_learned() -> None:
    ratio = TextRatio()
    text = prompt(words("w", 100))
    ratio.observe(text, Usage(prefill_tokens=40, cached_tokens=60))
    assert ratio.tokens_per_byte == pytest.approx(100 / text.num_bytes)


def test_limits_of_several_endpoints_add_up_once_all_have_told() -> None:
    told: list[RateReport] = []
    rates = RateSum(2, told.append)
    first, second = rates.teller(), rates.teller()
    first(RateReport(requests=Allowance(100, 50, 30.0), tokens=Allowance(1000, 10, 5.0)))
    assert told == []
    second(RateReport(requests=Allowance(200, 150, 10.0)))
    assert told == [RateReport(requests=Allowance(300, 200, 30.0), tokens=Allowance(reset_s=5.0))]


def test_who_is_cancelled_while_it_waits_for_a_slot_passes_it_on() -> None:
    async def main() -> None:
        for frees_first in (True, False):
            room = Room()
            first, second = (
                asyncio.create_task(room.wait(Trip((), Prompt(), None), is_first=False))
                for _ in range(2)
            )
            await asyncio.sleep(0)
            if frees_first:
                room.freed()
                first.cancel()
            else:
                first.cancel()
                room.freed()
            await asyncio.wait_for(second, 1.0)
            with pytest.raises(asyncio.CancelledError):
                await first
            room.freed()  # nobody waits any more

    run_virtual(main())
