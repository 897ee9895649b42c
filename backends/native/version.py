"""Which numbers the kernels compute: what is kept over an upgrade is of one version."""

import functools
import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parent


@functools.cache
def kernel_version() -> str:
    """A digest of the kernels' source and of what packs their inputs: a change of either may move a
    bit."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted((*_FOLDER.glob("kernels/*"), *_FOLDER.glob("pack*.py"))):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
