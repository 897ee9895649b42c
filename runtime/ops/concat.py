"""`concat`: lists one after another, each item given on as soon as it is its list's turn."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from graph_opt.graph import Node, Ref
from runtime.cost.sizes import UNKNOWN, Size, largest, list_of
from runtime.host import Host
from runtime.item_streams import Item, ItemStream, Reader, in_order, whole
from runtime.ops.base import OpRun
from runtime.scope import Scope, arg_value


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    return [item for part in args for item in part]


def _begin_streamed(host: Host, scope: Scope, node: Node) -> None:
    """Take from all lists at once, so that none holds up another, and give in their order."""
    behind = scope.out_stream(node)
    results: list[Item] = []

    def give(items: list[Item]) -> None:
        results.extend(items)
        if behind is not None:
            behind.put_all(items)

    def finish() -> None:
        host.finish(scope, node, (in_order(results),))

    guard = partial(host.guard, scope, node)
    turns = _Turns(give, finish, guard)
    for arg in node.args:
        if isinstance(arg, Ref) and arg.stream:
            turns.add(scope.stream(arg))
        else:
            turns.add(whole(arg_value(arg, scope.values)))
    turns.go_on()


class _Turns:
    """Lists in order; places continue from the lists before."""

    def __init__(
        self,
        give: Callable[[list[Item]], None],
        finish: Callable[[], None],
        guard: Callable[[Callable[[], None]], None],
    ) -> None:
        self._give = give
        self._finish = finish
        self._wake = partial(guard, self.go_on)
        self._readers: list[Reader] = []
        self._early: list[list[Item]] = []  # by list: taken before its turn
        self._turn = 0
        self._num_before = 0  # items of the lists whose turn is over
        self._is_busy = False

    def add(self, source: ItemStream) -> None:
        reader = source.reader()
        reader.wake = self._wake
        self._readers.append(reader)
        self._early.append([])

    def go_on(self) -> None:
        """Take what is there and give what is due; at the end of the last list, finish."""
        if self._is_busy:  # taking woke a producer that gave more at once: see the loop
            return
        self._is_busy = True
        while self._take() or self._give_due():
            pass
        self._is_busy = self._turn == len(self._readers)
        if self._is_busy:
            self._finish()

    def _take(self) -> bool:
        taken = [reader.take(reader.num_left) for reader in self._readers]
        for early, items in zip(self._early, taken, strict=True):
            early += items
        return any(taken)

    def _give_due(self) -> bool:
        if self._turn == len(self._readers):
            return False
        due, reader = self._early[self._turn], self._readers[self._turn]
        items = [((self._num_before + n, *rest), value) for (n, *rest), value in due]
        due.clear()
        if items:
            self._give(items)
        if reader.is_done:
            self._num_before += 1 + max((place[0] for place, _ in reader.stream.items), default=-1)
            self._turn += 1
        return bool(items) or reader.is_done


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    lists = [size.as_list() for size in args]
    items = sum(size.num_items for size in lists)
    return (list_of(items, largest([size.item or UNKNOWN for size in lists])),)


CONCAT = OpRun(run=_run, begin_streamed=_begin_streamed, size=_size)
