"""The tests of the CUDA kernels where there is no GPU, in Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).with_name("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="they run compiled, as tests of their own")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no triton (Linux only)")
def test_the_kernels_of_the_cuda_path_pass_their_tests_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
