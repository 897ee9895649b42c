"""What is left of a machine's and of a container's memory."""

from pathlib import Path

import pytest

from backends.memory import available_bytes

GIB = 1 << 30


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: 1 kB\nMemAvailable:   {8 * GIB // 1024} kB\n")
    return path


def test_a_machine_without_a_limit(tmp_path: Path, meminfo: Path) -> None:
    assert available_bytes(tmp_path, meminfo) == 8 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    assert available_bytes(tmp_path, meminfo) == 8 * GIB


def test_a_limit_of_version_2(tmp_path: Path, meminfo: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{4 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {GIB}\n")
    assert available_bytes(tmp_path, meminfo) == 2 * GIB


def test_a_limit_of_version_1(tmp_path: Path, meminfo: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text(f"{2 * GIB}\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text(f"{GIB}\n")
    assert available_bytes(tmp_path, meminfo) == GIB


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert available_bytes(tmp_path, tmp_path / "none") is None
