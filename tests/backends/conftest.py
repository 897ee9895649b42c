"""Makes the tiny BERT importable by the tests below; the instruction sets that kernels run on."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backends.native.build import build
from backends.native.instruction_sets import isas_here


@pytest.fixture(params=isas_here() or [None])
def isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set of this CPU that the kernels compile for, one after the other."""
    if request.param is None:
        pytest.skip(build().reason)
    built = build(request.param)
    if built.path is None:
        pytest.skip(built.reason)
    return str(request.param)
