"""A model's files that change are another model, but not for the engine that has loaded them."""

from pathlib import Path

from backends.fake.factory import create
from backends.registry import EngineSpec
from runtime.clock import run_virtual
from runtime.memo.fingerprint import fingerprint, fingerprint_of
from runtime.service import Runtime


def test_a_file_of_a_models_folder_that_is_written_again_shows(tmp_path: Path) -> None:
    url = f"local:{tmp_path}"
    (tmp_path / "model.safetensors").write_bytes(b"old")
    old = fingerprint(url)
    (tmp_path / "model.safetensors").write_bytes(b"newer")
    assert fingerprint(url) != old
    assert fingerprint("local:all-minilm-l6-v2") == fingerprint("local:/not/there") == ""


def test_files_that_options_name_count(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.bin"
    adapter.write_bytes(b"old")
    spec = EngineSpec("llm", "local:small", {"adapters": {"a": str(adapter)}})
    old = fingerprint_of(spec)
    adapter.write_bytes(b"newer")
    assert fingerprint_of(spec) != old


def test_what_an_engine_loaded_is_what_its_answers_are_kept_under(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"old")
    spec = EngineSpec("embedder", f"local:{model}", {"repeatable": True})
    runtime = Runtime(make=lambda spec: create(spec.kind, "fake:", spec.options))

    async def main() -> None:
        runtime.scheduler("embedder", spec)
        before = runtime._engines.gates._models[spec.key]
        model.write_bytes(b"newer")
        runtime.scheduler("embedder", spec)
        assert runtime._engines.gates._models[spec.key] == before != fingerprint_of(spec)
        await runtime.close()

    run_virtual(main())
