"""Libraries that the wheel carries: `lib/`, with a manifest of what each file must be.

They are as trusted as the Python files beside them, so the digest is checked and the owner is not.
"""

import ctypes
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from backends.native.compiler import source_digest
from backends.native.instruction_sets import SETS, InstructionSet
from backends.native.private_folder import load_checked

FOLDER = Path(__file__).with_name("lib")
MANIFEST = "manifest.json"
# The standard library comes along: the machine that loads them may have another, or none.
# Of libstdc++ only what is used, else it needs symbols of the newest glibc.
FLAGS = (
    *("-static-libstdc++", "-static-libgcc", "-s"),
    *("-Wl,--gc-sections", "-Wl,--exclude-libs,ALL"),
)
_log = logging.getLogger("teola.native")


def find_shipped(isa: InstructionSet) -> tuple[Path, ctypes.CDLL] | None:
    """The library of a set, loaded; None in a checkout, and with one warning where it is damaged
    or of another source. Raises OSError where it may not be run."""
    try:
        manifest = json.loads((FOLDER / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    digest = manifest["libraries"].get(isa.name)
    if digest is None or isa.is_stand_in:
        return None
    path = FOLDER / f"{isa.name}.so"
    if manifest["sources"] != source_digest():
        _log.warning("%s is of other kernels than those beside it; it is not used", path)
        return None
    if (found := load_checked(path, digest, is_ours=False)) is None:
        _log.warning("%s is damaged and not used; install teola's wheel again", path)
        return None
    return path, found


def make_all(machine: str, out: Path, compile_set: Callable[[InstructionSet, Path], None]) -> None:
    """Every set of a machine, and the manifest, into the folder `out`."""
    digests = {}
    for isa in SETS:
        if isa.machine == machine and not isa.is_stand_in:
            path = out / f"{isa.name}.so"
            compile_set(isa, path)
            digests[isa.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    text = json.dumps({"sources": source_digest(), "libraries": digests}, indent=2)
    (out / MANIFEST).write_text(text, encoding="utf-8")
