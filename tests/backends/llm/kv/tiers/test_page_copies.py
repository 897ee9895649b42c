"""Copies of pages on the transfer thread, beside a model that computes."""

import os
import subprocess
import sys

import pytest
import torch

from backends.llm.kv.tiers.page_codec import copy_row

_THREADS = """
import os, torch
import numpy as np
from backends.llm.kv.tiers.host import HostTier
from backends.llm.kv.tiers.page_codec import Raw
NUM_BYTES = 1 << 20
torch.set_num_threads(4)
rows = torch.from_numpy(np.ones((2, NUM_BYTES), np.uint8))
back = torch.from_numpy(np.zeros(NUM_BYTES, np.uint8))
host, before = HostTier(2, NUM_BYTES, False), len(os.listdir("/proc/self/task"))
for key, row in zip((b"a", b"b"), rows):
    host.put(key, row)
    Raw(NUM_BYTES).decode(host.get(key), back)
assert bool((back.numpy() == 1).all())
print(len(os.listdir("/proc/self/task")) - before)
"""


def test_a_page_arrives_as_it_was() -> None:
    row = torch.arange(256, dtype=torch.uint8)
    target = torch.zeros(2, 256, dtype=torch.uint8)
    copy_row(row, target[1])
    assert torch.equal(target[1], row)
    assert not target[0].any()


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_pages_go_to_host_memory_and_back_without_more_threads() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(found.stdout) == 0
