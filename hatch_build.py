"""With TEOLA_WHEEL_KERNELS=1 (`make wheel`) the wheel carries the CPU kernels, compiled for every
instruction set of this machine's kind, and is tagged for the oldest glibc that they run on."""

import os
import platform
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("TEOLA_WHEEL_KERNELS") != "1" or version == "editable":
            return
        sys.path.insert(0, self.root)
        from backends.native.compiler import compile_library, find_compiler
        from backends.native.shipped import FLAGS, make_all

        compiler = find_compiler()
        if compiler is None:
            raise SystemExit("make wheel needs a C++ compiler: install g++, or set CXX")
        self._made = tempfile.TemporaryDirectory(prefix="teola-wheel-")
        folder, machine = Path(self._made.name), platform.machine()
        make_all(machine, folder, partial(compile_library, compiler, more_flags=FLAGS))
        for path in folder.iterdir():
            build_data["force_include"][str(path)] = f"backends/native/lib/{path.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform(machine, folder)}"

    def finalize(self, *_: object) -> None:
        if hasattr(self, "_made"):
            self._made.cleanup()


def _platform(machine: str, folder: Path) -> str:
    """As PEP 600 names it: the newest glibc symbol that any library needs decides."""
    needed = max(version for path in folder.glob("*.so") for version in glibc_versions(path))
    return f"manylinux_{needed[0]}_{needed[1]}_{machine}"


def glibc_versions(library: Path) -> set[tuple[int, int]]:
    command = ["objdump", "--dynamic-syms", str(library)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"\(?GLIBC_(\d+)\.(\d+)", symbols)
    return {(int(major), int(minor)) for major, minor in found}
