"""Fixtures for users' tests: `pytest_plugins = ["teola.pytest_fixtures"]` in their conftest.py."""

from collections.abc import Iterator

import pytest

from teola.network import deny_network as _deny_network


@pytest.fixture
def deny_network() -> Iterator[_deny_network]:
    """Nothing in the test reaches another machine; see `tl.deny_network`."""
    with _deny_network() as block:
        yield block
