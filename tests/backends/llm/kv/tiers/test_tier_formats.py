"""Every form of KV below the pool, under real models: `kv_tier_format`."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.errors import ConfigError
from backends.fake.paged_model import PagedModel
from backends.llm.kv.tiers.disk import HEADER_BYTES, BadPage, read_page
from backends.llm.kv.tiers.open_tiers import open_tiers
from backends.llm.options import LLMOptions
from backends.llm.stats import CacheStats

TEXT = "the owl sat in the old oak and said nothing at all "
FORMATS = ("raw", "int8", "cachegen")
LOSSY = FORMATS[1:]


@pytest.fixture
def formed(tiny: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes drivers of small pools, with tiers of one format."""
    made: list[Any] = []

    def make(kv_tier_format: str, model: Any = None, **options: Any) -> Any:
        if "disk_kv" in options:
            options["disk_kv"] = str(tmp_path / options["disk_kv"])
        options = {"kv_tokens": 128, "page_size": 8, "stops": False, **options}
        made.append((model or tiny).driver(kv_tier_format=kv_tier_format, **options))
        return made[-1]

    yield make
    for driver in made:
        driver.core.close()
        driver.core.check_integrity()


def fill(driver: Any, num_tokens: int = 128) -> None:
    driver.prefill(None, "z" * num_tokens).release()
    driver.outcomes.clear()
    driver.core.transfer.tiers.worker.drain()


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "kv").rglob("*.kv"))


def values_of(driver: Any, pages: list[int]) -> torch.Tensor:
    layout, rows = driver.core.kv.page_layout, driver.core.kv.export_pages(pages)
    return torch.stack([torch.from_numpy(layout.values(row.numpy())) for row in rows])


@pytest.mark.parametrize("kv_tier_format", FORMATS)
@pytest.mark.parametrize(
    "tiers", [{"host_kv_tokens": 512}, {"disk_kv": "kv"}, {"host_kv_tokens": 64, "disk_kv": "kv"}]
)
def test_pages_come_back_with_what_their_format_keeps(
    formed: Any, kv_tier_format: str, tiers: Any
) -> None:
    driver = formed(kv_tier_format, **tiers)
    context = driver.prefill(None, TEXT)
    before = values_of(driver, context.table.pages[:6])
    fill(driver)
    assert context.table.num_computed == 0
    again = driver.decode(context, max_tokens=4)
    assert again.usage.prefill_tokens == 3  # the tail behind six whole pages
    after = values_of(driver, again.outputs[1].table.pages[:6])
    error = (after - before).norm() / before.norm()
    low, high = {"raw": (0, 0), "int8": (1e-4, 0.01), "cachegen": (0.01, 0.2)}[kv_tier_format]
    assert low <= error <= high


@pytest.mark.parametrize("kv_tier_format", LOSSY)
def test_the_kernels_pages_come_back_on_every_set(
    formed: Any,
    load_tiny: Any,
    isa: str,
    monkeypatch: pytest.MonkeyPatch,
    kv_tier_format: str,
) -> None:
    monkeypatch.setenv("TEOLA_ISA", isa)
    for dtype in (torch.float32, torch.bfloat16):
        model = load_tiny("llama", head_dim=16).moved(kernels="native", dtype=dtype)
        driver = formed(kv_tier_format, model, page_size=16, host_kv_tokens=512)
        context = driver.prefill(None, TEXT)
        before = values_of(driver, context.table.pages[:3])
        fill(driver)
        again = driver.decode(context, max_tokens=1)
        assert again.usage.prefill_tokens <= 3
        after = values_of(driver, again.outputs[1].table.pages[:3])
        assert 1e-4 < (after - before).norm() / before.norm() < 0.2


@pytest.mark.parametrize("kv_tier_format", FORMATS)
def test_a_page_goes_from_host_to_disk_as_it_was_encoded(
    formed: Any, tmp_path: Path, kv_tier_format: str
) -> None:
    driver = formed(kv_tier_format, host_kv_tokens=512, disk_kv="kv")
    driver.prefill(None, TEXT).release()
    fill(driver)
    host = driver.core.transfer.tiers.worker.host
    kept = {key.hex(): host.get(key) for key in host.in_order()}
    if kv_tier_format == "raw":
        kept = {key: row.numpy().tobytes() for key, row in kept.items()}
    assert driver.core.cache_stats().bytes_to_host == sum(map(len, kept.values()))
    driver.core.close()
    written = {path.stem: path.read_bytes()[HEADER_BYTES:] for path in files(tmp_path)}
    assert kept
    assert kept.items() <= written.items()


def test_smaller_forms_keep_more_in_the_bytes_of_a_folder(formed: Any, tmp_path: Path) -> None:
    page_bytes = 2 * 2 * 8 * 2 * 8 * 4
    kept = []
    for kv_tier_format in FORMATS:
        folder = f"kv/{kv_tier_format}"
        driver = formed(kv_tier_format, disk_kv=folder, disk_kv_bytes=4 * (page_bytes + 24))
        driver.prefill(None, TEXT * 2).release()
        fill(driver)
        stats = driver.core.cache_stats()
        paths = list((tmp_path / folder).rglob("*.kv"))
        assert sum(path.stat().st_size for path in paths) <= 4 * (page_bytes + 24)
        assert stats.disk_pages == len(paths)
        kept.append(len(paths))
    assert kept[0] == 4
    assert kept[1] >= 2 * kept[0]  # of float32, beside a scale for each eight numbers
    assert kept[2] >= 2 * kept[0]


def test_a_format_never_finds_the_pages_of_another(formed: Any, tmp_path: Path) -> None:
    for kv_tier_format in FORMATS:
        driver = formed(kv_tier_format, disk_kv="kv")
        assert driver.call("prefill", None, TEXT).usage.cached_tokens == 0
        driver.core.close()
    assert len({path.parent for path in files(tmp_path)}) == len(FORMATS)
    names = [{path.name for path in folder.iterdir()} for folder in (tmp_path / "kv").glob("kv-*")]
    assert not names[0] & names[1] | names[1] & names[2] | names[0] & names[2]
    for kv_tier_format in FORMATS:
        driver = formed(kv_tier_format, disk_kv="kv")
        assert driver.call("prefill", None, TEXT).usage.cached_tokens == 48


@pytest.mark.parametrize("kv_tier_format", FORMATS)
def test_no_flipped_byte_and_no_cut_gets_past_a_pages_checksum(
    formed: Any, tmp_path: Path, kv_tier_format: str
) -> None:
    driver = formed(kv_tier_format, disk_kv="kv")
    driver.prefill(None, TEXT)
    driver.core.close()
    path = files(tmp_path)[0]
    key, whole = bytes.fromhex(path.stem), path.read_bytes()
    num_bytes = None if kv_tier_format == "cachegen" else len(whole) - HEADER_BYTES
    assert read_page(path, key, num_bytes) == whole[HEADER_BYTES:]
    cut = [whole[:length] for length in range(0, len(whole), 3)]
    flipped = [
        whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(0, len(whole), 3)
    ]
    for content in (*cut, *flipped, whole + b"\0", whole[:HEADER_BYTES]):
        path.write_bytes(content)
        with pytest.raises(BadPage):
            read_page(path, key, num_bytes)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "emptied":
        content.clear()
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "emptied", "flipped"])
@pytest.mark.parametrize("kv_tier_format", FORMATS)
def test_damaged_pages_are_computed_again_exactly(
    formed: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kv_tier_format: str,
    how: str,
) -> None:
    first = formed(kv_tier_format, disk_kv="kv")
    expected = first.decode(first.prefill(None, TEXT), max_tokens=10).outputs[0]
    first.core.close()
    second = formed(kv_tier_format, disk_kv="kv")
    for path in files(tmp_path):
        damage(path, how)
    with caplog.at_level(logging.WARNING):
        context = second.prefill(None, TEXT)
        assert second.decode(context, max_tokens=10).outputs[0] == expected
    stats = second.core.cache_stats()
    assert (stats.disk_hit_tokens, stats.bad_files) == (0, 1)  # what follows is not looked for
    assert len(caplog.records) == 1


def test_a_page_that_cannot_be_decoded_is_removed_and_computed_again(
    formed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = formed("cachegen", disk_kv="kv")
    expected = first.decode(first.prefill(None, TEXT), max_tokens=10).outputs[0]
    first.core.close()
    second = formed("cachegen", disk_kv="kv")

    def refuse(*_: object) -> None:
        raise ValueError("no such page")

    monkeypatch.setattr(second.core.transfer.tiers.worker._codec, "decode", refuse)
    num_files = len(files(tmp_path))
    assert second.decode(second.prefill(None, TEXT), max_tokens=10).outputs[0] == expected
    assert second.core.cache_stats().bad_files == 1
    assert len(files(tmp_path)) == num_files - 1


@pytest.mark.parametrize("kv_tier_format", LOSSY)
def test_numbers_that_are_not_finite_are_not_kept(
    formed: Any, caplog: pytest.LogCaptureFixture, kv_tier_format: str
) -> None:
    driver = formed(kv_tier_format, host_kv_tokens=512)
    driver.prefill(None, TEXT).release()
    driver.core.kv._pages[0, 0, :, 0] = float("nan")
    fill(driver)
    assert driver.core.cache_stats().host_pages == 0
    assert "not finite" in caplog.text


def test_a_model_whose_pages_hold_no_numbers_is_told() -> None:
    model = PagedModel()
    options = LLMOptions(host_kv_tokens=64, kv_tier_format="int8")
    with pytest.raises(ConfigError, match="kv_tier_format='int8'.*take 'raw'"):
        open_tiers(model.make_pool(4, 16), options, "", model, CacheStats())
