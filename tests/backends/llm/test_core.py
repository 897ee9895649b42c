"""The engine stepped by hand: continuous batching, memory pressure, aborts, limits, usage."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.base import Result, Turn
from backends.errors import EngineError, RequestRejected, RequestTooLong

TEXT = "the owl sat in the old oak and said nothing at all "


def tokens_of(result: Result, num_prompt: int) -> list[int]:
    return result.outputs[1].ids[num_prompt:]


def test_a_context_is_not_changed_by_what_is_made_from_it(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    before = list(context.ids)
    driver.decode(context, max_tokens=5)
    longer = driver.prefill(context, "def")
    assert context.ids == before
    assert longer.num_tokens == 6


def test_forks_that_write_the_same_page_do_not_disturb_each_other(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    root = driver.prefill(None, TEXT[:21])  # ends inside a page
    left, right = driver.prefill(root, " left"), driver.prefill(root, " right side")
    ids = [driver.submit("decode", c, max_tokens=20) for c in (left, right, root)]
    together = [r.outputs[0] for r in driver.run(*ids)]
    apart = []
    for parts in ((TEXT[:21], " left"), (TEXT[:21], " right side"), (TEXT[:21],)):
        fresh = tiny.driver(stops=False)
        apart.append(fresh.decode(fresh.prefill(None, *parts), max_tokens=20).outputs[0])
    assert together == apart


def test_siblings_of_one_step_share_pages_before_they_are_computed(tiny: Any) -> None:
    driver = tiny.driver()
    ids = [driver.submit("prefill", None, TEXT * 3 + tail) for tail in "abcdef"]
    results = driver.run(*ids)
    assert driver.core.num_steps == 1
    assert [r.usage.cached_tokens for r in results] == [0, 144, 144, 144, 144, 144]


def test_same_step_siblings_decode_as_if_alone(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    prompts = [TEXT * 3 + tail for tail in ("a", "bb", "ccc")]
    prefills = driver.run(*(driver.submit("prefill", None, p) for p in prompts))
    ids = [driver.submit("decode", p.outputs[0], max_tokens=20) for p in prefills]
    together = [r.outputs[0] for r in driver.run(*ids)]
    for prompt, text in zip(prompts, together, strict=True):
        fresh = tiny.driver(stops=False)
        assert fresh.decode(fresh.prefill(None, prompt), max_tokens=20).outputs[0] == text


def test_a_fully_cached_prefill_computes_nothing(tiny: Any) -> None:
    driver = tiny.driver(page_size=1)
    driver.prefill(None, TEXT)
    steps = driver.core.num_steps
    result = driver.call("prefill", None, TEXT)
    assert result.usage.prefill_tokens == 0
    assert result.usage.cached_tokens == len(TEXT) - 1
    assert driver.core.num_steps == steps


def test_usage_of_a_prefill_and_its_decode_adds_up_to_the_prompt(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    first = driver.call("prefill", None, TEXT)
    second = driver.call("prefill", first.outputs[0], TEXT)
    decode = driver.decode(second.outputs[0], max_tokens=7)
    computed = [r.usage.prefill_tokens for r in (first, second, decode)]
    assert computed == [len(TEXT) - 1, len(TEXT), 1]
    assert decode.usage.decode_tokens == 7
    assert decode.finish_reason == "length"


def test_decodes_and_prefill_chunks_share_a_step(tiny: Any) -> None:
    driver = tiny.driver(stops=False, token_budget=16)
    context = driver.prefill(None, "abc")
    decode = driver.submit("decode", context, max_tokens=12)
    prefill = driver.submit("prefill", None, TEXT * 3)  # 11 chunks of 15 beside the decode
    before = driver.core.num_steps
    driver.run(decode, prefill)
    assert driver.core.num_steps - before == 12


def test_max_running_bounds_the_sequences_that_hold_pages(tiny: Any) -> None:
    driver = tiny.driver(stops=False, max_running=2)
    contexts = [driver.prefill(None, c) for c in "abcd"]
    for context in contexts:
        driver.submit("decode", context, max_tokens=5)
    driver.step()
    assert len(driver.core.planner.running) == 2
    driver.run()
    assert driver.core.num_steps == 10


def test_a_full_pool_preempts_the_newest_and_changes_no_token(tiny: Any) -> None:
    prompts = [f"{i} {TEXT}"[:40] for i in range(5)]
    small = tiny.driver(kv_tokens=160, stops=False, page_size=8)
    ids = [small.submit("prefill", None, p) for p in prompts]
    contexts = [r.outputs[0] for r in small.run(*ids)]
    ids = [small.submit("decode", c, max_tokens=50) for c in contexts]
    squeezed = [r.outputs[0] for r in small.run(*ids)]
    assert small.core.planner.num_preemptions > 0
    roomy = tiny.driver(stops=False)
    assert squeezed == [
        roomy.decode(roomy.prefill(None, p), max_tokens=50).outputs[0] for p in prompts
    ]


def test_the_oldest_finishes_first_under_pressure(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, stops=False, page_size=8)
    contexts = [driver.prefill(None, c * 30) for c in "abcd"]
    ids = [driver.submit("decode", c, max_tokens=60) for c in contexts]
    driver.run(*ids)
    assert list(driver.outcomes)[-4:] == ids


def test_an_idle_context_that_lost_its_pages_is_computed_again(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, stops=False, page_size=8)
    context = driver.prefill(None, TEXT)
    expected = driver.decode(context, max_tokens=10).outputs[0]
    driver.prefill(None, "z" * 120)
    assert context.table.num_computed == 0
    again = driver.decode(context, max_tokens=10)
    assert again.outputs[0] == expected
    assert again.usage.prefill_tokens > len(TEXT) // 2  # the tree may have kept a first page


def test_release_frees_pages_and_the_handle_still_works(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    pool = driver.core.cache.pool
    context = driver.prefill(None, TEXT)
    expected = driver.decode(context, max_tokens=5).outputs[0]
    driver.outcomes.clear()  # and with it the decode's own context
    context.release()
    context.release()
    driver.core.check_integrity()
    driver.core.cache.forget()
    assert pool.num_free == pool.num_pages
    assert driver.decode(context, max_tokens=5).outputs[0] == expected


def test_a_forgotten_handle_is_released(tiny: Any) -> None:
    driver = tiny.driver()
    driver.prefill(None, TEXT)
    driver.outcomes.clear()
    driver.core.check_integrity()
    driver.core.cache.forget()
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages


def test_abort_frees_pages_at_once_in_every_state(tiny: Any) -> None:
    driver = tiny.driver(stops=False, token_budget=16, max_running=2)
    context = driver.prefill(None, "abc")
    decoding = driver.submit("decode", context, max_tokens=100)
    prefilling = driver.submit("prefill", None, TEXT * 4)
    waiting = driver.submit("prefill", None, TEXT)
    driver.step()
    for request_id in (decoding, prefilling, waiting):
        assert driver.core.abort(request_id).id == request_id
        driver.core.check_integrity()
    assert not driver.core.has_work
    assert driver.core.abort(decoding) is None


def test_a_failing_step_fails_its_requests_and_the_core_goes_on(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tiny.driver(stops=False)
    expected = driver.decode(driver.prefill(None, TEXT), max_tokens=8).outputs[0]
    driver.outcomes.clear()
    driver.core.cache.forget()
    idle = driver.prefill(None, "something else entirely")

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(driver.core.model, "launch", fail)
        twins = driver.run(*(driver.submit("prefill", None, TEXT) for _ in range(2)))
    assert all(isinstance(outcome, EngineError) for outcome in twins)
    assert "out of memory" in str(twins[0])
    result = driver.call("prefill", None, TEXT)
    assert result.usage.cached_tokens == 0  # what the failed step had published is gone
    assert driver.decode(result.outputs[0], max_tokens=8).outputs[0] == expected
    assert idle.table.num_computed == idle.num_tokens - 1


def test_a_failing_emit_fails_only_its_own_request(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")

    def fail(_: str) -> None:
        raise ValueError("nobody listens")

    bad = driver.submit("decode", context, max_tokens=5, emit=fail)
    good = driver.submit("decode", context, max_tokens=5)
    bad_outcome, good_outcome = driver.run(bad, good)
    assert isinstance(bad_outcome, EngineError)
    assert isinstance(good_outcome, Result)


def test_a_prompt_longer_than_the_context_says_how_long_and_what_to_do(tiny: Any) -> None:
    with pytest.raises(RequestTooLong, match=r"600 tokens; the context takes 512: shorten"):
        tiny.driver().prefill(None, "x" * 600)


def test_a_text_that_no_context_takes_is_not_tokenised(tiny: Any) -> None:
    core = tiny.driver().core
    core.encode(["x" * 600])
    with pytest.raises(RequestTooLong, match="texts have 3000000 bytes; 512 tokens"):
        core.encode(["x" * 3_000_000])


def test_a_prompt_longer_than_the_pool_names_the_option(tiny: Any) -> None:
    with pytest.raises(RequestTooLong, match=r"200 tokens; the whole KV pool takes 65: raise .*kv"):
        tiny.driver(kv_tokens=64).prefill(None, "x" * 200)


def test_a_context_without_room_for_a_token_is_refused(tiny: Any) -> None:
    driver = tiny.driver(context_len=32)
    full = driver.prefill(None, "x" * 32)
    with pytest.raises(RequestTooLong, match="32 tokens and 1 to generate"):
        driver.decode(full)


def test_decode_is_cut_where_the_context_ends(tiny: Any) -> None:
    driver = tiny.driver(context_len=32, stops=False)
    result = driver.decode(driver.prefill(None, "x" * 30), max_tokens=100)
    assert result.finish_reason == "length"
    assert result.outputs[1].num_tokens == 32


def test_decode_is_cut_where_the_pool_ends(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=32, page_size=8, stops=False)
    result = driver.decode(driver.prefill(None, "x" * 30), max_tokens=100)
    assert result.outputs[1].num_tokens == 33  # the last token needs no KV


def test_an_empty_context_cannot_be_decoded(tiny: Any) -> None:
    driver = tiny.driver()
    empty = driver.prefill(None)
    assert empty.num_tokens == 0
    with pytest.raises(RequestRejected, match="at least one token"):
        driver.decode(empty)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "message"),
    [
        ("embed", (), {}, "no op 'embed'"),
        ("prefill", (None, 7), {}, "text, turns and token ids, not 7"),
        ("prefill", ("text",), {}, "must be a context"),
        ("prefill", (None, "a"), {"max_tokens": 3}, "takes no attributes"),
        ("decode", (None,), {}, "at least one token"),
    ],
)
def test_wrong_requests_are_rejected(
    tiny: Any, op: str, inputs: tuple[Any, ...], attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestRejected, match=message):
        tiny.driver().submit(op, *inputs, **attrs)


def test_a_context_of_another_engine_is_rejected(tiny: Any) -> None:
    context = tiny.driver().prefill(None, "abc")
    with pytest.raises(RequestRejected, match="another engine"):
        tiny.driver().submit("decode", context)


def test_one_id_cannot_run_twice(tiny: Any) -> None:
    driver = tiny.driver()
    driver.submit("prefill", None, "abc")
    driver.num_requests = 0
    with pytest.raises(RequestRejected, match="running already"):
        driver.submit("prefill", None, "abc")


def test_a_cut_prompt_has_the_same_ids_as_a_whole_one(tiny: Any) -> None:
    driver = tiny.driver()
    parts = (Turn("system"), "be kind", Turn("user"), "hello ", "there", Turn("assistant"))
    whole = driver.prefill(None, *parts)
    for cut in range(len(parts) + 1):
        first = driver.prefill(None, *parts[:cut])
        assert driver.prefill(first, *parts[cut:]).ids == whole.ids


def test_flushing_forgets_what_nobody_holds(load_tiny: Callable[..., Any]) -> None:
    driver = load_tiny().driver()
    (first,) = driver.run(driver.submit("prefill", None, "a b c d e f g h " * 8))
    first.outputs[0].release()
    driver.core.flush()
    (again,) = driver.run(driver.submit("prefill", None, "a b c d e f g h " * 8))
    assert again.usage.cached_tokens == 0
    driver.core.check_integrity()
