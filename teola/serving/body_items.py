"""Counts the items of a JSON body as its pieces arrive: parsing a list takes far longer than
receiving it, and this takes a hundredth of that.

    {"prompt": [1, 2, "a, b"]}    18: `{` and `[` for 8 each, two commas; strings do not count

A list or an object takes as long as some numbers. Never less than the length of any list. Bytes
that are no JSON get some count.
"""

CONTAINER_ITEMS = 8


class ItemCounter:
    """Of one body."""

    def __init__(self) -> None:
        self.num_items = 0
        self._is_in_string = False
        self._carried = b""  # a backslash whose next character is not here yet

    def feed(self, piece: bytes) -> None:
        piece = (self._carried + piece).replace(b"\\\\", b"").replace(b'\\"', b"")
        self._carried = b"\\" if piece.endswith(b"\\") else b""
        parts = piece.split(b'"')  # in turn outside and inside of strings
        outside = b" ".join(parts[self._is_in_string :: 2])
        num_containers = outside.count(b"[") + outside.count(b"{")
        self.num_items += outside.count(b",") + CONTAINER_ITEMS * num_containers
        self._is_in_string ^= len(parts) % 2 == 0
