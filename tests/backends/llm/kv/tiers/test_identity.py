"""Which models share KV on disk."""

import os
import shutil
from pathlib import Path

from backends.llm.kv.tiers.page_key import identity_of


def test_the_same_folder_is_the_same_model_and_its_readme_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(os.urandom(1_000_000))
    first = identity_of(tmp_path)
    (tmp_path / "README.md").write_text("read me")
    assert identity_of(tmp_path) == first


def test_other_weights_of_the_same_size_are_another_model(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    one.write_bytes(os.urandom(1_000_000))
    shutil.copy2(one, other)
    assert identity_of(other) == identity_of(one)
    content = bytearray(one.read_bytes())
    content[500_000:540_000] = bytes(40_000)
    other.write_bytes(content)
    shutil.copystat(one, other)
    assert identity_of(other) != identity_of(one)


def test_a_file_that_was_written_again_is_another_model(tmp_path: Path) -> None:
    model = tmp_path / "one.gguf"
    model.write_bytes(b"weights")
    first = identity_of(model)
    os.utime(model, (1, 1))
    assert identity_of(model) != first
