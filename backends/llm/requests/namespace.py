"""Whose prefixes may be shared: KV is found only by requests of the same namespace."""

from typing import NamedTuple


class Namespace(NamedTuple):
    """A context inherits its parent's. The names go into the keys of pages on disk, so an adapter
    is named by what its weights are (a digest), not by what it is called."""

    adapter: str = ""  # "": the base model alone
    salt: str = ""  # a tenant's; "": shared by all requests without one


SHARED = Namespace()
