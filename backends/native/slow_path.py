"""The one line that says why models run in torch where kernels could run."""

import functools
import sys

from backends.native.build import build


@functools.cache
def tell_of_slow_path() -> None:
    """On stderr, once a process; nothing where kernels are there or were turned off."""
    built = build()
    if built.remedy:
        told = "teola: models run in torch, many times slower than on teola's own CPU kernels"
        print(f"{told}: {built.reason}; {built.remedy}", file=sys.stderr, flush=True)
