"""Host and disk tiers under a real model: same tokens, less computed, nobody kept waiting."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

TEXT = "the owl sat in the old oak and said nothing at all "
TIERS: list[dict[str, Any]] = [
    {"host_kv_tokens": 512},
    {"disk_kv": "kv"},
    {"host_kv_tokens": 64, "disk_kv": "kv"},
]


@pytest.fixture
def tiered(tiny: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes drivers of small pools; a relative `disk_kv` is under the test's folder."""
    made: list[Any] = []

    def make(model: Any = None, **options: Any) -> Any:
        if "disk_kv" in options:
            options["disk_kv"] = str(tmp_path / options["disk_kv"])
        options = {"kv_tokens": 128, "page_size": 8, "stops": False, **options}
        made.append((model or tiny).driver(**options))
        return made[-1]

    yield make
    for driver in made:
        driver.core.close()
        driver.core.check_integrity()


def fill(driver: Any, num_tokens: int = 128, letter: str = "z") -> None:
    """Ask for so many pages and give them back; what was there is saved when this returns."""
    driver.prefill(None, letter * num_tokens).release()
    driver.outcomes.clear()
    driver.core.transfer.tiers.worker.drain()


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "kv").rglob("*.kv"))


@pytest.mark.parametrize("tiers", TIERS)
def test_an_evicted_context_comes_back_instead_of_being_computed(tiered: Any, tiers: Any) -> None:
    driver = tiered(**tiers)
    context = driver.prefill(None, TEXT)
    expected = driver.decode(context, max_tokens=10)
    fill(driver)
    assert context.table.num_computed == 0
    again = driver.decode(context, max_tokens=10)
    assert again.outputs[0] == expected.outputs[0]
    assert again.usage.prefill_tokens == 3  # the tail behind six whole pages
    stats = driver.core.cache_stats()
    assert stats.host_hit_tokens + stats.disk_hit_tokens == 48
    assert stats.num_loads == 1


@pytest.mark.parametrize("tiers", TIERS)
def test_loaded_tokens_count_as_cached(tiered: Any, tiers: Any) -> None:
    driver = tiered(**tiers)
    fill(driver, len(TEXT), "a")
    fill(driver)
    usage = driver.call("prefill", None, "a" * len(TEXT)).usage
    assert (usage.cached_tokens, usage.prefill_tokens) == (48, 2)
    assert driver.core.cache_stats().pool_hit_tokens == 0  # each is counted where it was found


@pytest.mark.parametrize("tiers", TIERS)
def test_pressure_changes_no_token(tiny: Any, tiered: Any, tiers: Any) -> None:
    squeezed = tiered(**tiers, token_budget=24, max_running=4)
    roomy = tiny.driver(stops=False)
    prompts = [f"{i % 4} {TEXT}"[: 30 + i] for i in range(12)]
    ids = [squeezed.submit("prefill", None, prompt) for prompt in prompts]
    contexts = [r.outputs[0] for r in squeezed.run(*ids)]
    ids = [squeezed.submit("decode", context, max_tokens=30) for context in contexts]
    found = [r.outputs[0] for r in squeezed.run(*ids)]
    assert found == [
        roomy.decode(roomy.prefill(None, prompt), max_tokens=30).outputs[0] for prompt in prompts
    ]
    stats = squeezed.core.cache_stats()
    assert squeezed.core.planner.num_preemptions > 0
    assert stats.host_hit_tokens + stats.disk_hit_tokens > 0


def num_computed(driver: Any, num_outputs: int) -> int:
    """Tokens that a core computes for two long decodes side by side."""
    plan, count = driver.core.planner.plan, 0

    def counted() -> Any:
        nonlocal count
        step = plan()
        count += step.num_tokens
        return step

    driver.core.planner.plan = counted
    ids = [driver.submit("decode", None, x + TEXT, max_tokens=num_outputs) for x in "ab"]
    driver.run(*ids)
    return count


@pytest.mark.parametrize("tiers", TIERS[:2])
def test_a_preempted_sequence_comes_back_with_no_whole_page_computed_again(
    tiny: Any, tiered: Any, tiers: Any
) -> None:
    squeezed = tiered(**tiers)
    again = num_computed(squeezed, 60) - num_computed(tiny.driver(stops=False), 60)
    num_preemptions = squeezed.core.planner.num_preemptions
    assert num_preemptions > 0
    assert again < 8 * num_preemptions
    stats = squeezed.core.cache_stats()
    assert stats.host_hit_tokens + stats.disk_hit_tokens > 0
    assert stats.lost_pages == stats.unsaved_pages == 0


def test_a_page_is_written_once(tiered: Any) -> None:
    driver = tiered(host_kv_tokens=512)
    context = driver.prefill(None, TEXT)
    written = []
    for _ in range(4):
        driver.decode(context, max_tokens=1)
        driver.outcomes.clear()
        fill(driver)
        written.append(driver.core.cache_stats().bytes_to_host)
    stats = driver.core.cache_stats()
    assert written[1:] == [written[1]] * 3
    assert stats.known_pages >= 3 * 6
    assert stats.num_loads >= 3


def test_a_session_resumes_after_a_restart(tiny: Any, tiered: Any) -> None:
    first = tiered(disk_kv="kv", kv_tokens=512)
    context = first.prefill(None, TEXT)
    answer = first.decode(context, max_tokens=20)
    history = TEXT + answer.outputs[0] + TEXT
    turn = first.decode(first.prefill(None, history), max_tokens=20)
    first.core.close()

    second = tiered(disk_kv="kv", kv_tokens=512)
    resumed = second.call("prefill", None, history)
    num_ids = resumed.outputs[0].num_tokens
    assert resumed.usage.cached_tokens == (num_ids - 1) // 8 * 8
    assert resumed.usage.prefill_tokens == (num_ids - 1) % 8
    again = second.decode(resumed.outputs[0], max_tokens=20)
    assert again.outputs[1].ids == turn.outputs[1].ids
    assert second.core.cache_stats().disk_hit_tokens == resumed.usage.cached_tokens


def test_a_long_prompt_comes_back_in_several_reads(tiny: Any, tiered: Any) -> None:
    driver = tiered(host_kv_tokens=1024, kv_tokens=512)
    prompt = "".join(chr(97 + i % 23) for i in range(400))  # 50 pages, 16 a read
    expected = tiny.driver(stops=False)
    expected = expected.decode(expected.prefill(None, prompt), max_tokens=20).outputs[0]
    context = driver.prefill(None, prompt)
    fill(driver, 500)
    assert driver.decode(context, max_tokens=20).outputs[0] == expected
    assert driver.core.cache_stats().host_hit_tokens > 3 * 16 * 8 - 8


def test_host_memory_goes_to_disk_at_the_end(tiered: Any, tmp_path: Path) -> None:
    first = tiered(host_kv_tokens=512, disk_kv="kv")
    first.prefill(None, TEXT)
    fill(first)
    assert files(tmp_path) == []
    first.core.close()
    second = tiered(disk_kv="kv")
    assert second.call("prefill", None, TEXT).usage.cached_tokens == 48


def test_another_model_or_tenant_finds_nothing(tiered: Any, load_tiny: Any) -> None:
    first = tiered(disk_kv="kv")
    first.call("prefill", None, TEXT, cache_salt="anna")
    first.core.close()
    wider = load_tiny(num_key_value_heads=4)
    assert tiered(wider, disk_kv="kv").call("prefill", None, TEXT).usage.cached_tokens == 0
    second = tiered(disk_kv="kv")
    assert second.call("prefill", None, TEXT).usage.cached_tokens == 0
    assert second.call("prefill", None, TEXT, cache_salt="ben").usage.cached_tokens == 0
    assert second.call("prefill", None, TEXT, cache_salt="anna").usage.cached_tokens == 48


def test_a_corrupt_page_is_computed_again_and_removed(
    tiered: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = tiered(disk_kv="kv")
    expected = first.decode(first.prefill(None, TEXT), max_tokens=10).outputs[0]
    first.core.close()
    for path in files(tmp_path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    second = tiered(disk_kv="kv")
    context = second.prefill(None, TEXT)
    assert second.decode(context, max_tokens=10).outputs[0] == expected
    assert second.core.cache_stats().disk_hit_tokens == 0
    assert second.core.cache_stats().lost_pages > 0
    assert len(caplog.records) == 1
    assert "checksum" in caplog.text


def test_what_does_not_belong_in_the_folder_goes_with_one_warning(
    tiered: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = tiered(disk_kv="kv")
    first.prefill(None, TEXT)
    first.core.close()
    (folder,) = (tmp_path / "kv").glob("kv-*")
    kept = tmp_path / "kv" / "notes.txt"
    for path in (kept, folder / "notes.txt", folder / "abc.kv", folder / ("00" * 20 + ".kv")):
        path.write_text("not KV")
    with caplog.at_level(logging.WARNING):
        second = tiered(disk_kv="kv")
    assert len(caplog.records) == 1
    assert kept.exists()
    assert len(list(folder.iterdir())) == 6
    assert second.call("prefill", None, TEXT).usage.cached_tokens == 48


def test_the_folder_stays_within_its_bytes_and_keeps_what_was_used_last(
    tiered: Any, tmp_path: Path
) -> None:
    page_bytes = 2 * 2 * 8 * 2 * 8 * 4 + 24
    driver = tiered(disk_kv="kv", disk_kv_bytes=10 * page_bytes)
    for letter in "abcdef":
        fill(driver, 40, letter)
    fill(driver)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 10 * page_bytes
    assert driver.core.cache_stats().disk_pages == len(files(tmp_path)) == 10


def test_a_disk_that_cannot_be_written_costs_one_warning_and_no_request(
    tiered: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("backends.llm.kv.tiers.disk.write_page", full)
    driver = tiered(disk_kv="kv")
    context = driver.prefill(None, TEXT)
    fill(driver)
    fill(driver, letter="y")
    driver.decode(context, max_tokens=3)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no space left" in caplog.text


def test_siblings_wait_for_one_load(tiered: Any) -> None:
    driver = tiered(host_kv_tokens=512, kv_tokens=256)
    driver.prefill(None, TEXT).release()
    fill(driver, 256)
    ids = [driver.submit("prefill", None, TEXT + tail) for tail in "abcd"]
    results = driver.run(*ids)
    assert [r.usage.cached_tokens for r in results] == [48] * 4
    assert driver.core.cache_stats().num_loads == 1
    assert driver.core.cache_stats().num_waits == 4


class SlowDisk:
    """Reads wait until they may go on."""

    def __init__(self, driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on = threading.Event()
        disk = driver.core.transfer.tiers.worker.disk
        get = disk.get

        def slowly(key: bytes) -> Any:
            assert self.goes_on.wait(30)
            return get(key)

        monkeypatch.setattr(disk, "get", slowly)


def test_others_run_while_a_sequence_waits_for_the_disk(
    tiered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tiered(disk_kv="kv", kv_tokens=256)
    driver.prefill(None, TEXT).release()
    fill(driver, 256)
    disk = SlowDisk(driver, monkeypatch)
    waiting = driver.submit("prefill", None, TEXT)
    other = driver.submit("prefill", None, "b" * 40)
    for _ in range(20):
        driver.step()
    assert other in driver.outcomes
    decode = driver.submit("decode", driver.outcomes[other].outputs[0], max_tokens=10)
    for _ in range(10):
        driver.step()
    assert decode in driver.outcomes
    assert waiting not in driver.outcomes
    disk.goes_on.set()
    assert driver.run(waiting)[0].usage.cached_tokens == 48


def test_aborting_who_waits_for_the_disk_leaks_nothing(
    tiered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tiered(disk_kv="kv")
    driver.prefill(None, TEXT).release()
    fill(driver)
    disk = SlowDisk(driver, monkeypatch)
    waiting = driver.submit("prefill", None, TEXT)
    driver.step()
    assert driver.core.transfer.num_loading == 1
    assert driver.core.abort(waiting) is not None
    driver.core.check_integrity()
    disk.goes_on.set()
    driver.run()
    assert driver.core.transfer.num_loading == 0
    driver.core.flush()
    driver.core.check_integrity()
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages


def test_flushing_empties_the_tiers_too(tiered: Any, tmp_path: Path) -> None:
    driver = tiered(host_kv_tokens=32, disk_kv="kv")
    for letter in "abc":
        fill(driver, 60, letter)
    driver.core.flush()
    assert files(tmp_path) == []
    assert driver.core.cache_stats().host_pages == 0
    assert driver.call("prefill", None, "a" * 60).usage.cached_tokens == 0


def test_a_full_queue_forgets_and_does_not_wait(
    tiered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.llm.kv.tiers.tier_transfer._QUEUED_PAGES", 2)
    driver = tiered(host_kv_tokens=512)
    may_save = threading.Event()
    host = driver.core.transfer.tiers.worker.host
    put = host.put

    def slowly(key: bytes, row: Any) -> None:
        assert may_save.wait(30)
        put(key, row)

    monkeypatch.setattr(host, "put", slowly)
    driver.prefill(None, TEXT).release()
    driver.prefill(None, "z" * 128)
    assert driver.core.cache_stats().unsaved_pages == 4
    may_save.set()


def test_bfloat16_kv_comes_back_bit_for_bit(tiny: Any, tiered: Any) -> None:
    driver = tiered(tiny.moved(dtype=torch.bfloat16), disk_kv="kv")
    context = driver.prefill(None, TEXT)
    pages = context.table.pages[:6]
    before = driver.core.kv.export_pages(pages)
    fill(driver)
    again = driver.decode(context, max_tokens=1)
    assert again.usage.prefill_tokens <= 4  # the rest was loaded
    pages = again.outputs[1].table.pages[:6]
    assert torch.equal(driver.core.kv.export_pages(pages), before)


def test_exported_pages_can_be_put_elsewhere(tiny: Any) -> None:
    pool = tiny.model.make_pool(6, 4)
    pool._pages.copy_(torch.randn_like(pool._pages))
    rows = pool.export_pages([1, 4])
    assert rows.dtype == torch.uint8
    pool.import_pages([5, 0], rows)
    assert torch.equal(pool._pages[:, :, 5], pool._pages[:, :, 1])
    assert torch.equal(pool._pages[:, :, 0], pool._pages[:, :, 4])
