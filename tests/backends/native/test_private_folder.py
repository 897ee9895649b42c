"""A library that somebody else can have written is never loaded; the refusal names it."""

import ctypes
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from backends.native import build as building
from backends.native import private_folder
from backends.native.compiler import find_compiler
from backends.native.private_folder import Distrusted, PrivateFolder

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
SOMEBODY = 12345


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A library whose `answer()` is 42."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "x.c").write_text("int answer(void) { return 42; }")
    command = [str(find_compiler()), "-shared", "-fPIC", "-x", "c", "-o"]
    subprocess.run([*command, folder / "x.so", folder / "x.c"], check=True)
    return (folder / "x.so").read_bytes()


@pytest.fixture
def stored(tmp_path: Path, plugin: bytes) -> Path:
    """The path of that library in a private folder."""
    with PrivateFolder(tmp_path / "kernels") as folder:
        folder.store("avx2-1", plugin)
    (path,) = (tmp_path / "kernels").iterdir()
    return path


def find(path: Path) -> tuple[Path, ctypes.CDLL] | None:
    with PrivateFolder(path.parent) as folder:
        return folder.find("avx2-1")


def refusal(path: Path) -> str:
    with pytest.raises(Distrusted) as caught:
        find(path)
    return str(caught.value)


@needs_compiler
def test_what_was_stored_is_found_and_only_its_owner_may_read_it(stored: Path) -> None:
    found = find(stored)
    assert found is not None
    assert found[1].answer() == 42
    assert stored.stat().st_mode & 0o777 == 0o600
    assert stored.parent.stat().st_mode & 0o777 == 0o700


@needs_compiler
@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_cut_library_is_removed(stored: Path, size: int) -> None:
    content = stored.read_bytes()
    stored.write_bytes(content[:size])
    assert find(stored) is None
    assert not stored.exists()


@needs_compiler
def test_a_changed_library_is_removed(stored: Path) -> None:
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    assert find(stored) is None
    assert not stored.exists()


@needs_compiler
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(stored: Path, mode: int) -> None:
    stored.chmod(mode)
    assert f"others may write {stored} (mode {mode:04o})" in refusal(stored)


@needs_compiler
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_may_write_is_refused(stored: Path, mode: int) -> None:
    stored.parent.chmod(mode)
    assert f"others may write {stored.parent} (mode {mode:04o})" in refusal(stored)


@needs_compiler
@as_root
def test_a_file_of_somebody_else_is_refused(stored: Path) -> None:
    os.chown(stored, SOMEBODY, -1)
    assert f"{stored} belongs to user {SOMEBODY} and not to you (user 0)" in refusal(stored)


@needs_compiler
@as_root
def test_a_folder_of_somebody_else_is_refused(stored: Path) -> None:
    os.chown(stored.parent, SOMEBODY, -1)
    assert f"{stored.parent} belongs to user {SOMEBODY}" in refusal(stored)


@needs_compiler
def test_a_symbolic_link_is_refused(stored: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.so"
    stored.rename(real)
    stored.symlink_to(real)
    assert f"{stored} is a symbolic link" in refusal(stored)


@needs_compiler
def test_a_folder_that_is_a_symbolic_link_is_refused(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(stored.parent)
    assert "link is a symbolic link" in refusal(tmp_path / "link" / stored.name)


@needs_compiler
def test_what_was_checked_is_loaded_also_when_the_path_is_replaced(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write a folder above swaps ours for his, after the check and before the load."""

    class Swapped(ctypes.CDLL):
        def __init__(self, name: str) -> None:
            stored.parent.rename(stored.parent.with_name("moved"))
            stored.parent.mkdir()
            stored.write_bytes(b"of somebody else")
            super().__init__(name)

    monkeypatch.setattr(private_folder.ctypes, "CDLL", Swapped)
    found = find(stored)
    assert found is not None
    assert found[1].answer() == 42


@needs_compiler
def test_two_libraries_are_two_whatever_was_loaded_before(tmp_path: Path, plugin: bytes) -> None:
    """The loader compares names: that of an open file must not be used twice."""
    with PrivateFolder(tmp_path / "kernels") as folder:
        folder.store("avx2-1", plugin)
        folder.store("avx2-2", plugin + b"\0")
        one, two = folder.find("avx2-1"), folder.find("avx2-2")
    assert one is not None
    assert two is not None
    assert one[1]._handle != two[1]._handle


def test_old_libraries_of_a_set_are_forgotten(tmp_path: Path) -> None:
    with PrivateFolder(tmp_path) as folder:
        folder.store("avx512-0", b"of another set")
        for i in range(9):
            folder.store(f"avx2-{i}", b"%d" % i)
            os.utime(next(tmp_path.glob(f"avx2-{i}-*")), ns=(i, i))
    left = sorted(path.name.split("-")[1] for path in tmp_path.glob("avx2-*"))
    assert left == ["5", "6", "7", "8"]
    assert len(list(tmp_path.glob("avx512-*"))) == 1


@needs_compiler
@as_root
@pytest.mark.skipif(not building.wanted_isas(), reason="a CPU that no kernels are written for")
def test_a_cache_of_somebody_else_is_named_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = tmp_path / "shared" / "kernels"
    planted.mkdir(parents=True)
    os.chown(planted, SOMEBODY, SOMEBODY)
    monkeypatch.setenv("TEOLA_CACHE", str(planted.parent))
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(building.tempfile, "tempdir", str(own))
    monkeypatch.setattr(building, "compile_library", lambda cxx, isa, out: out.write_bytes(b"x"))
    building._built.cache_clear()
    try:
        built = building.build()
    finally:
        building._built.cache_clear()
    assert not list(planted.iterdir())
    assert f"cannot keep the CPU kernels in {planted}: {planted} belongs to user" in caplog.text
    assert built.path is None  # what the stand-in compiler wrote is no library


WAIT = """
import sys
from pathlib import Path
from backends.native.private_folder import PrivateFolder
with PrivateFolder(Path(sys.argv[1])) as folder, folder.locked(sys.argv[2]):
    print("in", flush=True)
    sys.stdin.readline()
"""


def test_only_those_wait_who_want_the_same_library(tmp_path: Path) -> None:
    def start(stem: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", WAIT, str(tmp_path), stem], **pipes)

    def is_in(process: subprocess.Popen[str], timeout_s: float) -> bool:
        return bool(select.select([process.stdout], [], [], timeout_s)[0])

    first = start("avx2-1")
    assert is_in(first, 60)
    same, other = start("avx2-1"), start("avx2-2")
    assert is_in(other, 60)
    assert not is_in(same, 0.3)
    first.communicate("\n")
    assert is_in(same, 60)
    for process in (same, other):
        process.communicate("\n")
