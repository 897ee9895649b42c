"""Makes the tiny BERT importable by the tests below; the instruction sets that kernels run on."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backends.native.build import build
from backends.native.instruction_sets import isas_here


@pytest.fixture(params=isas_here() or [None])
def isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set of this CPU, in turn; one that is not built is a failure."""
    if request.param is None:
        pytest.skip("a CPU that no kernels are written for")
    built = build(request.param)
    assert built.path is not None, built.reason
    return str(request.param)
