"""What a store's URL may say: no secrets, and which hosts are near."""

import ipaddress


def is_near(host: str) -> bool:
    """Whether a host is this machine, or in a private network by its address or name."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
    return address.is_private or address.is_loopback
