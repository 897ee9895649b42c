"""Devices and models of the catalogue and of files of one's own."""

import json
from pathlib import Path

import pytest

from backends.emulated.descriptions import catalogue, device_of, names_in, shape_of
from backends.emulated.factory import create
from backends.emulated.hardware import Device
from backends.errors import ConfigError

DEVICE = """
memory_bytes = 1e9
bandwidth_bytes_s = 1e10
peak_flops.float32 = 1e11
efficiency = { 1 = 0.1, 9 = 0.5 }
"""


def test_every_device_of_the_catalogue_can_be_read_and_names_its_source() -> None:
    for name in catalogue("devices"):
        device, count = device_of(name)
        assert count == 1
        assert device.source


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama-3.1-8b", 8.03),
        ("llama-3.1-70b", 70.55),
        ("qwen2.5-7b", 7.62),
        ("llama-3.2-1b", 1.24),
        ("smollm2-135m", 0.1345),
        ("mistral-7b", 7.25),
    ],
)
def test_a_shape_has_the_parameters_that_its_model_card_tells(name: str, billions: float) -> None:
    assert shape_of(name, "llm").num_params / 1e9 == pytest.approx(billions, rel=0.005)


def test_every_model_of_the_catalogue_can_be_read() -> None:
    for name, entry in catalogue("models").items():
        assert shape_of(name, entry.get("kind", "llm")).source


def test_a_name_with_a_count_is_several_devices() -> None:
    one, _ = device_of("h100")
    assert device_of("h100x4") == (one, 4)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("emulated:h100/llama-3.1-8b", ("h100", "llama-3.1-8b")),
        ("emulated:my.toml/llama-3.1-8b", ("my.toml", "llama-3.1-8b")),
        ("emulated:/a/b.toml/c/d.json", ("/a/b.toml", "c/d.json")),
        ("emulated:h100/c/d.toml", ("h100", "c/d.toml")),
    ],
)
def test_a_url_names_a_device_and_a_model(url: str, names: tuple[str, str]) -> None:
    assert names_in(url) == names


def test_a_url_without_a_model_says_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match="emulated:DEVICE/MODEL"):
        names_in("emulated:h100")


def test_a_file_describes_a_device_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(DEVICE)
    device, _ = device_of(str(path))
    assert device.peak("bfloat16") == 1e11, "a device without a format computes in a wider one"
    assert [device.efficiency_at(n) for n in (1, 5, 9, 100)] == pytest.approx(
        [0.1, 1 / 6, 0.5, 0.5]
    )


def test_a_json_file_describes_a_model_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    sizes = {"layers": 2, "hidden": 8, "intermediate": 16, "heads": 2, "vocab": 10}
    path.write_text(json.dumps({**sizes, "max_tokens": 64}))
    assert shape_of(str(path), "llm").layer_params == 2 * (2 * 8 * 4 * 4 + 3 * 8 * 16)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (DEVICE.replace("memory_bytes", "memory"), "unknown field 'memory'"),
        (DEVICE.replace("memory_bytes = 1e9", ""), "the field 'memory_bytes' is missing"),
        (DEVICE.replace("1e10", "-1"), "field 'bandwidth_bytes_s'"),
        (DEVICE.replace("float32", "float31"), "got 'float31'"),
        (DEVICE.replace("0.5", "5.0"), "field 'efficiency"),
        (
            DEVICE.replace("{ 1 = 0.1, 9 = 0.5 }", "{}"),
            "field 'efficiency': Dictionary should have at least 1",
        ),
        ("memory_bytes = ", "Invalid value"),
    ],
)
def test_a_wrong_file_is_told_by_its_name_and_field(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        device_of(str(path))
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"heads": 4, "kv_heads": 3}, "'kv_heads' (3) must divide 'heads' (4)"),
        ({"heads": 3}, "'heads' (3) must divide 'hidden' (8), or give 'head_dim'"),
    ],
)
def test_heads_that_do_not_divide_are_told(
    tmp_path: Path, sizes: dict[str, int], told: str
) -> None:
    path = tmp_path / "mine.json"
    plain = {"layers": 2, "hidden": 8, "intermediate": 16, "vocab": 9, "max_tokens": 64}
    path.write_text(json.dumps({**plain, **sizes}))
    with pytest.raises(ConfigError) as caught:
        shape_of(str(path), "llm")
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        device_of(str(tmp_path / "none.toml"))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'h100'.*a100"):
        device_of("h10")


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no embedder.*bge-large"):
        create("embedder", "emulated:h100/llama-3.1-8b", {})


def test_a_model_that_does_not_fit_its_device_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"141\.1 GB in bfloat16.*h100x4"):
        create("llm", "emulated:h100/llama-3.1-70b", {})
    create("llm", "emulated:h100x4/llama-3.1-70b", {})


def test_files_may_stand_in_options(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(DEVICE)
    options = {"device_file": str(path), "dtype": "float32"}
    with pytest.raises(ConfigError, match=r"0\.9 GB for weights"):
        create("llm", "emulated:h100/llama-3.1-8b", options)
    create("llm", "emulated:h100/smollm2-135m", options)


def test_a_formats_peak_falls_back_to_one_that_the_device_has() -> None:
    device = Device(
        peak_flops={"bfloat16": 2.0, "float32": 1.0}, bandwidth_bytes_s=1, memory_bytes=1
    )
    assert device.peak("float8") == 2.0
    assert device.peak("float32") == 1.0


def test_options_may_stand_in_the_url() -> None:
    engine = create("llm", "emulated:h100/llama-3.1-8b?max_running=7&device=shared", {})
    assert (engine.info.num_slots, engine.info.device) == (7, "shared")
    with pytest.raises(ConfigError, match=r"unknown option 'speed'.*token_budget"):
        create("llm", "emulated:h100/llama-3.1-8b?speed=9", {})


def test_a_recording_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"no recording none\.jsonl"):
        create("llm", "emulated:h100/llama-3.1-8b?recording=none.jsonl", {})
