"""The kernels for 64-bit ARM, cross-compiled and run by an emulator where both are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from backends.native.compiler import FOLDER
from backends.native.instruction_sets import SETS

COMPILER = shutil.which("aarch64-linux-gnu-g++")
EMULATOR = shutil.which("qemu-aarch64")
pytestmark = pytest.mark.skipif(
    COMPILER is None or EMULATOR is None,
    reason="no aarch64-linux-gnu-g++ or no qemu-aarch64 (apt: g++-aarch64-linux-gnu, qemu-user)",
)
ARM_SETS = {one.name: one.flags for one in SETS if one.machine == "aarch64"}


@pytest.mark.parametrize("name", list(ARM_SETS))
def test_all_products_norms_attention_and_a_step_equal_plain_loops(
    name: str, tmp_path: Path
) -> None:
    """`check_kernels.cpp` says what differs, in values from plain loops or in bits from itself."""
    program = tmp_path / "check"
    source = Path(__file__).with_name("check_kernels.cpp")
    flags = ("-O1", "-std=c++20", "-w", "-static", "-I", str(FOLDER), *ARM_SETS[name])
    command = [str(COMPILER), *flags, "-o", str(program), str(source), "-lpthread"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([str(EMULATOR), str(program)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "0 failures\n"), done.stdout[-2000:] + done.stderr
