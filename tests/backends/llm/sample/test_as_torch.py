"""Who computes on logits: see `backends.llm.sample.as_torch`."""

import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest
import torch

from backends.llm.sample.as_torch import as_torch


def test_logits_of_kernels_are_the_same_memory() -> None:
    logits = np.zeros((1, 4), np.float32)
    as_torch(logits)[0, 2] = 1.0
    assert logits[0, 2] == 1.0
    own = torch.zeros(1, 4)
    assert as_torch(own) is own


@pytest.mark.parametrize(("before", "then"), [(4, 1), (16, 16)])
def test_few_threads_are_left_to_the_kernels_on_the_thread_of_an_engine_alone(
    before: int, then: int
) -> None:
    script = f"""
        import threading
        import numpy as np
        import torch
        from backends.llm.sample.as_torch import as_torch

        torch.set_num_threads({before})
        found = []

        def engine(logits):
            as_torch(logits).exp()
            found.append(torch.get_num_threads())

        def another():
            torch.zeros(4).exp()
            found.append(torch.get_num_threads())

        logits = np.zeros((1, 4), np.float32)
        for target, *args in ((engine, logits), (another,), (engine, torch.as_tensor(logits))):
            thread = threading.Thread(target=target, args=args)
            thread.start()
            thread.join()
        print(*found, torch.get_num_threads())
    """
    run = [sys.executable, "-c", dedent(script)]
    found = subprocess.run(run, capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout.split() == [str(n) for n in (then, before, before, before)]
