"""Requests with adapters at a core: names, contexts, prefixes, and one budget with the KV."""

import contextlib
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.base import Result
from backends.errors import ConfigError, EngineUnavailable, RequestRejected, RequestTooLong

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
TEXT = "the owl sat in the old oak and said nothing at all "

Make = Callable[..., Path]


@pytest.fixture
def driver(tiny: Any, adapter_folder: Make) -> Any:
    driver = tiny.driver(stops=False)
    driver.core.load_adapter("a", adapter_folder(1))
    driver.core.load_adapter("b", adapter_folder(2))
    return driver


def prefill(driver: Any, parent: Any, text: str, **attrs: Any) -> Any:
    return driver.call("prefill", parent, text, **attrs).outputs[0]


def tokens(driver: Any, context: Any, num_new: int = 12, **attrs: Any) -> list[int]:
    result = driver.decode(context, max_tokens=num_new, **attrs)
    new: list[int] = result.outputs[1].ids[context.num_tokens :]
    return new


def test_an_unknown_adapter_is_rejected_with_the_known_ones(driver: Any) -> None:
    with pytest.raises(RequestRejected, match="no adapter 'c' is loaded; known: a, b"):
        driver.submit("prefill", None, TEXT, adapter="c")
    with pytest.raises(RequestRejected, match="no adapter 7 is loaded"):
        driver.submit("prefill", None, TEXT, adapter=7)
    assert driver.core.adapter_names == ("a", "b")


def test_a_context_inherits_its_parents_adapter(driver: Any) -> None:
    parent = prefill(driver, None, TEXT, adapter="a")
    child = prefill(driver, parent, "and then")
    whole = prefill(driver, None, TEXT + "and then", adapter="a")
    assert tokens(driver, child) == tokens(driver, child, adapter="a") == tokens(driver, whole)
    longer = driver.decode(child, max_tokens=3).outputs[1]
    assert longer.adapter is child.adapter is parent.adapter


def test_a_fork_to_another_adapter_is_rejected(driver: Any) -> None:
    base, with_a = prefill(driver, None, TEXT), prefill(driver, None, TEXT, adapter="a")
    with pytest.raises(RequestRejected, match="with adapter 'a' and cannot go on with .*'b'"):
        driver.submit("prefill", with_a, "more", adapter="b")
    with pytest.raises(RequestRejected, match="made without an adapter and cannot go on with"):
        driver.submit("decode", base, adapter="a")
    assert not driver.core.has_work


def test_an_empty_context_may_take_any_adapter(driver: Any) -> None:
    empty = driver.prefill(None)
    late = prefill(driver, empty, TEXT, adapter="a")
    assert tokens(driver, late) == tokens(driver, prefill(driver, None, TEXT, adapter="a"))
    assert tokens(driver, late) != tokens(driver, prefill(driver, empty, TEXT))


def test_prefixes_are_shared_within_an_adapter_and_never_across(driver: Any) -> None:
    def cached(**attrs: Any) -> int:
        result = driver.call("prefill", None, TEXT, **attrs)
        num_cached: int = result.usage.cached_tokens
        return num_cached

    assert [cached(), cached(adapter="a"), cached(adapter="b")] == [0, 0, 0]
    assert [cached(), cached(adapter="a"), cached(adapter="b")] == [48, 48, 48]


def test_siblings_of_one_step_share_by_adapter(driver: Any) -> None:
    names = (None, "a", "b", "a", None, "b")
    attrs = [{} if name is None else {"adapter": name} for name in names]
    ids = [driver.submit("prefill", None, TEXT * 3, **given) for given in attrs]
    results = driver.run(*ids)
    assert driver.core.num_steps == 1
    assert [r.usage.cached_tokens for r in results] == [0, 0, 0, 144, 144, 144]


def test_the_same_files_under_another_name_share_prefixes(
    driver: Any, adapter_folder: Make
) -> None:
    prefill(driver, None, TEXT, adapter="a")
    driver.core.load_adapter("again", adapter_folder(1))
    assert driver.call("prefill", None, TEXT, adapter="again").usage.cached_tokens == 48


def test_contexts_of_an_unloaded_or_replaced_adapter_are_rejected(
    driver: Any, adapter_folder: Make
) -> None:
    context = prefill(driver, None, TEXT, adapter="a")
    before = tokens(driver, context)
    driver.core.unload_adapter("a")
    with pytest.raises(RequestRejected, match="no adapter 'a' is loaded; known: b"):
        driver.submit("decode", context)
    driver.core.load_adapter("a", adapter_folder(3))
    with pytest.raises(RequestRejected, match="'a' is another one now .* prefill the prompt again"):
        driver.submit("decode", context)
    driver.core.unload_adapter("a")
    driver.core.load_adapter("a", adapter_folder(1))
    assert tokens(driver, context) == before


def test_unloading_lets_running_and_waiting_requests_finish(driver: Any) -> None:
    context = prefill(driver, None, TEXT, adapter="a")
    expected = tokens(driver, context, 20)
    running = driver.submit("decode", context, max_tokens=20)
    driver.step()
    waiting = driver.submit("decode", context, max_tokens=20)
    driver.core.unload_adapter("a")
    results = driver.run(running, waiting)
    assert [r.outputs[1].ids[context.num_tokens :] for r in results] == [expected] * 2
    driver.core.check_integrity()
    assert driver.core.adapter_names == ("b",)


def squeezed(tiny: Any, adapter_folder: Make, room_tokens: int) -> Any:
    """A core that knows three adapters; its pool takes one of them and so many tokens."""
    probe = tiny.driver(page_size=8)
    probe.core.load_adapter("a", adapter_folder(1))
    num_pages = probe.core.cache.pool.num_pages - probe.core.cache.pool.num_free
    driver = tiny.driver(kv_tokens=num_pages * 8 + room_tokens, stops=False, page_size=8)
    for seed, name in enumerate("abc", 1):
        driver.core.load_adapter(name, adapter_folder(seed))
    return driver


def test_adapters_take_turns_in_a_pool_that_holds_one(tiny: Any, adapter_folder: Make) -> None:
    small = squeezed(tiny, adapter_folder, 80)
    roomy = tiny.driver(stops=False)
    for seed, name in enumerate("abc", 1):
        roomy.core.load_adapter(name, adapter_folder(seed))
    jobs = [(name, f"{i} {TEXT}"[:40]) for i in range(4) for name in "abc"]
    ids = [small.submit("prefill", None, text, adapter=name) for name, text in jobs]
    contexts = [result.outputs[0] for result in small.run(*ids)]
    results = small.run(*(small.submit("decode", c, max_tokens=30) for c in contexts))
    assert small.core.adapters.in_memory.num_evictions > 0
    for (name, text), context, result in zip(jobs, contexts, results, strict=True):
        expected = tokens(roomy, prefill(roomy, None, text, adapter=name), 30)
        assert result.outputs[1].ids[context.num_tokens :] == expected


def test_memory_pressure_preempts_sequences_with_adapters_and_changes_no_token(
    tiny: Any, adapter_folder: Make
) -> None:
    small = squeezed(tiny, adapter_folder, 120)
    roomy = tiny.driver(stops=False)
    roomy.core.load_adapter("a", adapter_folder(1))
    texts = [f"{i} {TEXT}"[:30] for i in range(4)]
    contexts = [prefill(small, None, text, adapter="a") for text in texts]
    results = small.run(*(small.submit("decode", c, max_tokens=50) for c in contexts))
    assert small.core.planner.num_preemptions > 0
    for text, context, result in zip(texts, contexts, results, strict=True):
        expected = tokens(roomy, prefill(roomy, None, text, adapter="a"), 50)
        assert result.outputs[1].ids[context.num_tokens :] == expected


def test_a_prompt_that_fits_only_without_its_adapter_is_too_long(
    tiny: Any, adapter_folder: Make
) -> None:
    driver = squeezed(tiny, adapter_folder, 64)
    assert prefill(driver, None, "x" * 100).num_tokens == 100
    with pytest.raises(RequestTooLong, match=r"the whole KV pool beside Adapter\('a'\) takes 65"):
        driver.submit("prefill", None, "x" * 100, adapter="a")
    full = prefill(driver, None, "x" * 60, adapter="a")
    assert driver.decode(full, max_tokens=100).outputs[1].num_tokens == 65


def test_files_that_change_behind_an_evicted_adapter_fail_only_its_requests(
    tiny: Any, adapter_folder: Make, tmp_path: Path
) -> None:
    driver = squeezed(tiny, adapter_folder, 80)
    folder = tmp_path / "mine"
    shutil.copytree(adapter_folder(4), folder)
    driver.core.load_adapter("mine", folder)
    prefill(driver, None, "x" * 30, adapter="a")  # takes the room
    shutil.copytree(adapter_folder(5), folder, dirs_exist_ok=True)
    bad = driver.submit("prefill", None, TEXT, adapter="mine")
    good = driver.submit("prefill", None, TEXT, adapter="b")
    base = driver.submit("prefill", None, TEXT)
    outcomes = driver.run(bad, good, base)
    assert isinstance(outcomes[0], EngineUnavailable)
    assert "has changed since it was loaded: unload 'mine'" in str(outcomes[0])
    assert all(isinstance(outcome, Result) for outcome in outcomes[1:])


def test_an_aborted_request_lets_go_of_its_adapter(driver: Any) -> None:
    context = prefill(driver, None, TEXT, adapter="a")
    running = driver.submit("decode", context, max_tokens=100)
    waiting = driver.submit("prefill", None, TEXT * 2, adapter="b")
    driver.step()
    for request_id in (running, waiting):
        driver.core.abort(request_id)
        driver.core.check_integrity()
    driver.outcomes.clear()
    context.release()
    driver.core.flush()
    driver.core.unload_adapter("a")
    driver.core.unload_adapter("b")
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages


def test_an_adapter_that_does_not_fit_is_a_wrong_setting(
    driver: Any, tiny: Any, adapter_folder: Make
) -> None:
    with pytest.raises(ConfigError, match="is the adapter of another model"):
        driver.core.load_adapter("wide", adapter_folder(base={"hidden_size": 64}))
    small = tiny.driver(kv_tokens=16)
    with pytest.raises(ConfigError, match=r"takes \d+ pages and the whole KV pool has 1: raise"):
        small.core.load_adapter("a", adapter_folder(1))
    assert small.core.adapter_names == ()
    small.core.check_integrity()


def test_several_samples_and_choices_run_with_the_contexts_adapter(driver: Any) -> None:
    context = prefill(driver, None, TEXT, adapter="a")
    single = tokens(driver, context)
    many = driver.decode(context, max_tokens=12, n=2).outputs[1]
    assert [c.ids[context.num_tokens :] for c in many] == [single, single]
    base = prefill(driver, None, TEXT)
    scores = [driver.call("select", c, ["yes", "no"]).outputs[1] for c in (context, base)]
    assert scores[0] != scores[1]


def test_random_requests_leave_nothing_behind(tiny: Any, adapter_folder: Make) -> None:
    driver = squeezed(tiny, adapter_folder, 120)
    rng = random.Random(0)
    contexts: list[Any] = [None]
    num_done = 0
    for _ in range(400):
        match rng.choice(("prefill", "prefill", "decode", "step", "step", "abort", "reload")):
            case "prefill":
                parent = rng.choice(contexts)
                name = rng.choice(("a", "b", "c", None)) if parent is None else None
                attrs = {} if name is None else {"adapter": name}
                if parent is None or parent.num_tokens < 60:
                    text = TEXT[: rng.randrange(1, 20)]
                    try_to_submit(driver, "prefill", parent, text, **attrs)
            case "decode" if contexts[1:]:
                context, num_new = rng.choice(contexts[1:]), rng.randrange(1, 15)
                try_to_submit(driver, "decode", context, max_tokens=num_new)
            case "abort" if driver.core.live.groups:
                driver.core.abort(rng.choice(list(driver.core.live.groups)))
            case "reload":
                name = rng.choice("abc")
                driver.core.unload_adapter(name)
                driver.core.load_adapter(name, adapter_folder("abc".index(name) + 1))
            case _:
                driver.step()
        num_done += len(driver.outcomes)
        results = [out for out in driver.outcomes.values() if isinstance(out, Result)]
        contexts = [None, *contexts[1:][-8:], *(result.outputs[-1] for result in results)]
        driver.outcomes.clear()
    driver.run()
    assert num_done > 50
    assert driver.core.adapters.in_memory.num_evictions > 5
    contexts.clear()
    results.clear()
    driver.outcomes.clear()
    for name in "abc":
        driver.core.unload_adapter(name)
    driver.core.flush()
    driver.core.check_integrity()
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages


def try_to_submit(driver: Any, op: str, *inputs: Any, **attrs: Any) -> None:
    """What is refused at the door is fine."""
    with contextlib.suppress(RequestRejected, RequestTooLong):
        driver.submit(op, *inputs, **attrs)


class SlowReads:
    """Reads of adapters wait until they may go on."""

    def __init__(self, driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on = threading.Event()
        reader = driver.core.adapters._reader
        read = reader._read

        def slowly(folder: Path) -> Any:
            assert self.goes_on.wait(60)
            return read(folder)

        monkeypatch.setattr(reader, "_read", slowly)


def test_decodes_go_on_while_an_adapter_is_read_again(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tokens(driver, prefill(driver, None, TEXT, adapter="a"))
    while driver.core.adapters.in_memory.give_back(driver.core.cache.drop):
        pass  # both are on disk only
    disk = SlowReads(driver, monkeypatch)
    waiting = [driver.submit("prefill", None, TEXT, adapter="a") for _ in range(2)]
    gone = driver.submit("prefill", None, TEXT, adapter="b")
    other = driver.submit("decode", None, TEXT, max_tokens=30)
    for _ in range(40):
        driver.step()
    assert other in driver.outcomes  # behind them in the queue, and done before them
    assert not driver.outcomes.keys() & {*waiting, gone}
    driver.core.abort(gone)
    disk.goes_on.set()
    first, second = (result.outputs[0] for result in driver.run(*waiting))
    assert tokens(driver, first) == tokens(driver, second) == expected
    driver.decode(None, TEXT, max_tokens=3)  # what was read for the one that is gone is idle
    assert driver.core.adapters.num_loading == 0


def test_an_adapter_that_cannot_be_read_again_fails_its_requests_alone(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    while driver.core.adapters.in_memory.give_back(driver.core.cache.drop):
        pass

    def broken(folder: Path) -> Any:
        raise MemoryError(f"no memory for {folder}")

    monkeypatch.setattr(driver.core.adapters._reader, "_read", broken)
    failing = [driver.submit("prefill", None, TEXT, adapter="a") for _ in range(2)]
    other = driver.submit("decode", None, TEXT, max_tokens=10)
    *failed, done = driver.run(*failing, other)
    assert all(isinstance(outcome, EngineUnavailable) for outcome in failed)
    assert isinstance(done, Result)
