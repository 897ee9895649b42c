"""The pool in tokens: what sequences hold, half a page lost for each, and the pages of prefixes."""

from collections.abc import Iterable

from backends.emulated.events.prefixes import Prefixes
from backends.emulated.events.sequence import Sequence


class Memory:
    """What runs holds memory from `begin` to `end`. Pages that nothing holds are free: they are
    evicted when others need the room."""

    def __init__(self, num_tokens: int, page_size: int) -> None:
        self.num_tokens = num_tokens
        self.page_size = page_size
        self._prefixes = Prefixes()
        self._private = 0  # tokens that are in no page of `_prefixes`
        self._promised = 0  # tokens of prompts that have begun and are not computed
        self._num_holders = 0

    @property
    def free_tokens(self) -> int:
        held = self._prefixes.num_locked * self.page_size + self._private + self._promised
        return self.num_tokens - held - self._num_holders * self.page_size // 2

    def known_pages(self, sequence: Sequence) -> int:
        """Those at the beginning of its prompt that are there."""
        return self._prefixes.match(sequence.prompt.keys)

    def begin(self, sequence: Sequence, num_known: int) -> None:
        """It holds its known pages; at least one of its tokens is left to compute."""
        known_tokens = num_known * self.page_size
        self._prefixes.lock(sequence.prompt.keys[:num_known])
        sequence.num_locked = num_known
        sequence.num_computed = min(known_tokens, sequence.length - 1)
        self._private += sequence.num_computed - known_tokens
        self._promised += sequence.length - sequence.num_computed
        self._num_holders += 1

    def compute(self, sequence: Sequence, num_tokens: int) -> None:
        """So much more of its prompt is there. Others find its pages from now on."""
        sequence.num_computed += num_tokens
        self._private += num_tokens
        self._promised -= num_tokens
        keys = sequence.prompt.keys
        num_pages = min(sequence.num_computed // self.page_size, len(keys))
        if num_pages > sequence.num_locked:
            self._prefixes.lock(keys[sequence.num_locked : num_pages])
            self._private -= (num_pages - sequence.num_locked) * self.page_size
            sequence.num_locked = num_pages

    def grow(self, num_tokens: int) -> None:
        """What runs has generated so many tokens together."""
        self._private += num_tokens

    def end(self, sequence: Sequence, *, is_computed: bool) -> None:
        """It holds nothing any more; before its prompt `is_computed` it gives up the rest of it."""
        held = sequence.length if is_computed else sequence.num_computed
        if not is_computed:
            self._promised -= sequence.length - sequence.num_computed
        self._private -= held - sequence.num_locked * self.page_size
        self._prefixes.unlock(sequence.prompt.keys[: sequence.num_locked])
        sequence.num_locked = sequence.num_computed = 0
        self._num_holders -= 1

    def make_room(self) -> None:
        """Evict what is more than fits."""
        unused = self._prefixes.num_pages - self._prefixes.num_locked
        over = unused * self.page_size - self.free_tokens
        if over > 0:
            self._prefixes.evict(-(-over // self.page_size))

    def check_integrity(self, prefilling: Iterable[Sequence], lengths: dict[Sequence, int]) -> None:
        """What is counted is what is there; `lengths` are those of what decodes."""
        before = list(prefilling)
        held = sum(s.num_computed - s.num_locked * self.page_size for s in before)
        held += sum(length - s.num_locked * self.page_size for s, length in lengths.items())
        promised = sum(s.length - s.num_computed for s in before)
        assert self._private == held, f"{self._private} tokens are counted, {held} are held"
        assert self._promised == promised, f"{self._promised} are promised, {promised} are left"
        assert self._num_holders == len(before) + len(lengths), f"{self._num_holders} holders"
        assert self._prefixes.num_locked == 0 or self._num_holders, "locked, and nothing runs"
