import json
from dataclasses import replace
from pathlib import Path

import pytest

from backends.registry import EngineSpec
from runtime.cost import profile_store
from runtime.cost.curves import Curve, Surface
from runtime.cost.latency import LatencyModel
from runtime.cost.profile_store import (
    Latencies,
    Machine,
    ProfileError,
    ProfileWarning,
    all_profiles,
    clear,
    find,
    key_of,
    make_profile,
    path_of,
    read,
    save,
)

SPEC = EngineSpec("embedder", "fake:", {"max_batch_items": 8})
MODEL = LatencyModel({"embed": Surface.flat(Curve(((1.0, 0.25), (2.0, 0.5), (4.0, 1.0))))})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))


def test_a_profile_comes_back_as_it_was_saved() -> None:
    profile = make_profile(key_of(SPEC), MODEL, 1.5)
    path = save(profile)

    assert read(path) == find(key_of(SPEC)) == profile


def test_nothing_is_found_before_anything_was_saved() -> None:
    assert find(key_of(SPEC)) is None
    assert list(all_profiles()) == []


@pytest.mark.parametrize(
    "other",
    [
        EngineSpec("reranker", "fake:", {"max_batch_items": 8}),
        EngineSpec("embedder", "fake:other", {"max_batch_items": 8}),
        EngineSpec("embedder", "fake:", {"max_batch_items": 9}),
        EngineSpec("embedder", "fake:", {"max_batch_items": 8, "device": "cuda:1"}),
        EngineSpec("embedder", "fake:", {"max_batch_items": 8, "dtype": "float16"}),
    ],
)
def test_kind_model_options_and_device_each_have_their_own_profile(other: EngineSpec) -> None:
    save(make_profile(key_of(SPEC), MODEL, 1.0))

    assert find(key_of(other)) is None


def test_another_machine_has_its_own_profile() -> None:
    save(make_profile(key_of(SPEC), MODEL, 1.0))

    assert find(key_of(SPEC, Machine("another", 2))) is None
    assert find(key_of(SPEC, replace(profile_store.this_machine(), num_threads=99))) is None


def test_no_device_is_the_same_as_auto() -> None:
    assert key_of(EngineSpec("embedder", "fake:", {"device": None})).device == "auto"
    assert key_of(EngineSpec("llm", "fake:", {"device": "cuda"})).device == "cuda"


def test_all_stores_in_folders_share_a_profile() -> None:
    keys = [key_of(EngineSpec("store", url)) for url in ("local:a", "local:/b", "local:")]

    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"format": 1}', b"\x00\xff"],
    ids=["empty", "cut", "a list", "no profile", "binary"],
)
def test_a_corrupt_file_is_left_out_with_a_warning(content: bytes) -> None:
    path = save(make_profile(key_of(SPEC), MODEL, 1.0))
    path.write_bytes(content)

    with pytest.raises(ProfileError, match="profile again"):
        read(path)
    with pytest.warns(ProfileWarning, match="is not a profile"):
        assert find(key_of(SPEC)) is None


def test_a_curve_that_falls_is_no_profile() -> None:
    path = save(make_profile(key_of(SPEC), MODEL, 1.0))
    fields = json.loads(path.read_text())
    fields["model"]["ops"]["embed"]["rows"][0]["curve"]["points"] = [[1, 2], [2, 1]]
    path.write_text(json.dumps(fields))

    with pytest.raises(ProfileError, match="seconds must not fall"):
        read(path)


def test_a_newer_format_is_left_out() -> None:
    path = save(replace(make_profile(key_of(SPEC), MODEL, 1.0), format=99))

    with pytest.raises(ProfileError, match="format 99"):
        read(path)


def test_writing_replaces_the_file_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_profile(key_of(SPEC), MODEL, 1.0)
    path = save(old)

    def fail(self: Path, target: Path) -> Path:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"):
        save(replace(old, took_s=2.0))

    assert read(path) == old
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_clearing_removes_every_profile() -> None:
    save(make_profile(key_of(SPEC), MODEL, 1.0))
    save(make_profile(key_of(EngineSpec("llm", "fake:")), MODEL, 1.0))

    assert clear() == 2
    assert list(all_profiles()) == []


def test_a_file_name_tells_kind_and_model() -> None:
    path = path_of(key_of(EngineSpec("llm", "hf:org/a model@1/x.gguf")))

    assert path.name.startswith("llm-hf-org-a-model-1-x.gguf-")


def test_engines_get_their_profiles_and_others_defaults() -> None:
    save(make_profile(key_of(SPEC), MODEL, 1.0))
    latencies = Latencies()

    assert latencies.of(SPEC).is_profiled
    assert latencies.of(SPEC) is latencies.of(EngineSpec("embedder", "fake:", SPEC.options))
    assert latencies.of(SPEC).source.startswith("profiled 2")
    assert latencies.of(EngineSpec("python", "python:")).source == "default"


def test_a_profile_holds_no_secret_of_its_engines_url() -> None:
    assert (
        key_of(EngineSpec("llm", "acme://u:SECRET@h/m?key=SECRET")).model
        == "acme://u:***@h/m?key=***"
    )
