"""Streams of list items: items with their place, and readers that take them in pieces.

An item's place is its index path: (2,) is the third item, (2, 0) the first of the third list of a
flattened list of lists. Items may arrive in any order; places restore the order,
under nesting and without knowing the counts beforehand.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, overload

MAX_BEGUN = 32  # pieces that one node begins before others get their turn

Place = tuple[int, ...]
Item = tuple[Place, Any]


class ItemStream:
    """Written by one producer, read by any number of readers, each at its own pace."""

    def __init__(self) -> None:
        self._given: list[Item] = []
        self.items: Sequence[Item] = self._given
        self.is_closed = False
        self._readers: list[Reader] = []
        self._on_taken: Callable[[], None] | None = None
        self._on_closed: list[Callable[[], None]] = []
        self._is_bounded = True

    def put(self, place: Place, value: Any) -> None:
        """Add an item and wake the readers."""
        self._given.append((place, value))
        self._wake()

    def put_all(self, items: Sequence[Item]) -> None:
        """Add items that came together, so that readers may take them together."""
        self._given += items
        self._wake()

    def close(self) -> None:
        """No more items come."""
        self.is_closed = True
        told, self._on_closed = self._on_closed, []
        for tell in told:
            tell()
        self._wake()

    def when_closed(self, tell: Callable[[], None]) -> None:
        """Call `tell` once all items are there; now, if they are."""
        if self.is_closed:
            tell()
        else:
            self._on_closed.append(tell)

    def reader(self) -> "Reader":
        """A reader that sees every item, also those already there."""
        reader = Reader(self)
        self._readers.append(reader)
        return reader

    @property
    def backlog(self) -> int:
        """Items that the slowest reader has not taken; none, once it has no bounds."""
        if not self._is_bounded:
            return 0
        return len(self.items) - min((r.position for r in self._readers), default=len(self.items))

    def lift_bounds(self) -> None:
        """From here on no reader holds up the producer, which may go on."""
        self._is_bounded = False
        self.taken()

    def when_taken(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever a reader took items: the producer may go on."""
        self._on_taken = tell

    def taken(self) -> None:
        if self._on_taken is not None:
            self._on_taken()

    def _wake(self) -> None:
        for reader in list(self._readers):
            reader.wake()


class Reader:
    """One reader's position in a stream."""

    def __init__(self, stream: ItemStream) -> None:
        self.stream = stream
        self.position = 0
        self.wake: Callable[[], None] = _ignore

    @property
    def num_left(self) -> int:
        return len(self.stream.items) - self.position

    @property
    def is_done(self) -> bool:
        return self.stream.is_closed and not self.num_left

    def take(self, count: int) -> Sequence[Item]:
        """The next `count` items, fewer if fewer are there."""
        items = self.stream.items[self.position : self.position + count]
        self.position += len(items)
        if items:
            self.stream.taken()
        return items


class Numbered(Sequence[Item]):
    """A list as items; they are made when they are taken, since lists may be long."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = tuple(values)  # whoever changes the list does not change the items

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [((i,), self._values[i]) for i in range(*index.indices(len(self._values)))]
        return (index,), self._values[index]


def whole(values: Sequence[Any]) -> ItemStream:
    """A list that is all there, as a stream."""
    stream = ItemStream()
    stream.items = Numbered(values)
    stream.is_closed = True
    return stream


def in_order(items: Sequence[Item]) -> list[Any]:
    """The values by their places."""
    return [value for _, value in sorted(items, key=itemgetter(0))]


def _ignore() -> None:
    pass


class GrowingText:
    """A text while it is decoded; whole at once when made with a text."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text or ""
        self.is_closed = text is not None
        self._tell: Callable[[], None] = _ignore

    def grow(self, piece: str) -> None:
        """More of the text is there."""
        self.text += piece
        self._tell()

    def close(self, text: str) -> None:
        """The text is whole."""
        self.text = text
        self.is_closed = True
        self._tell()

    def when_grown(self, tell: Callable[[], None]) -> None:
        """Call `tell` at each change."""
        self._tell = tell


class Pieces:
    """Feeds one node's streams to it in pieces, and tells when all pieces are done.

    A piece holds at most `size` items, each with the items of the same place in all sources. At
    most `window` items are unfinished or wait untaken behind the node, so that a slow consumer
    bounds its producers. When others wake it, `guard` runs it: what goes wrong is not theirs. With
    `in_turn` many pieces begin some at a time.
    """

    def __init__(
        self,
        sources: Sequence[Reader],
        size: int,
        window: int,
        begin: Callable[[list[Place], list[list[Any]]], None],
        finish: Callable[[], None],
        behind: ItemStream | None = None,
        guard: Callable[[Callable[[], None]], None] | None = None,
        in_turn: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._sources = sources
        self._size = max(1, size)
        self._window = max(window, self._size)
        self._begin = begin
        self._finish = finish
        self._behind = behind
        self._met: list[dict[Place, Any]] = [{} for _ in sources]  # items without their partners
        self._num_unfinished = 0
        self._is_pumping = False
        self._is_finished = False
        self._in_turn = in_turn
        self._waits_for_turn = False
        pump = self.pump if guard is None else partial(guard, self.pump)
        for source in sources:
            source.wake = pump
        if behind is not None:
            behind.when_taken(pump)

    def done(self, count: int) -> None:
        """A piece of `count` items is finished."""
        self._num_unfinished -= count
        self.pump()

    def pump(self) -> None:
        """Begin all pieces that there are items and room for."""
        if self._is_pumping or self._is_finished or self._waits_for_turn:
            return
        self._is_pumping = True
        num_begun = 0
        while piece := self._next_piece():
            places, columns = piece
            self._num_unfinished += len(places)
            self._begin(places, columns)
            num_begun += 1
            if num_begun == MAX_BEGUN and self._in_turn is not None:
                self._waits_for_turn = True
                self._in_turn(self._go_on)
                break
        self._is_pumping = False
        if not (self._num_unfinished or self._is_finished) and self._is_dry():
            self._is_finished = True
            self._finish()

    def _is_dry(self) -> bool:
        return all(source.is_done for source in self._sources) and not any(self._met[0:1])

    def _go_on(self) -> None:
        self._waits_for_turn = False
        self.pump()

    def _next_piece(self) -> tuple[list[Place], list[list[Any]]] | None:
        behind = self._behind.backlog if self._behind is not None else 0
        room = min(self._size, self._window - self._num_unfinished - behind)
        if room <= 0:
            return None
        if len(self._sources) == 1:
            items = self._sources[0].take(room)
            return ([place for place, _ in items], [[v for _, v in items]]) if items else None
        for source, met in zip(self._sources, self._met, strict=True):
            met.update(source.take(source.num_left))
        first, *others = self._met
        places = [place for place in first if all(place in met for met in others)][:room]
        if not places:
            return None
        return places, [[met.pop(place) for place in places] for met in self._met]
