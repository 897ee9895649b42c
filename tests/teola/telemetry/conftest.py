"""Spans in memory, and a receiver of OTLP over HTTP."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from span_tools import Receiver, Seen, receiving


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def seen_with_content() -> Seen:
    return Seen(content=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found
