"""Which call of the user's a node belongs to: its path, its place, and what it comes after."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from frontend_dsl.naming import Names
from frontend_dsl.where import user_frame, user_place
from graph_opt.graph import Arg, Node, Origin, Ref


class UserCalls:
    """The calls of one traced function; those of a body are named with those around it."""

    def __init__(self, home: tuple[str, int] | None, outer: "UserCalls | None" = None) -> None:
        self._home = home  # file and line of the traced function itself
        self._names: Names = outer._names if outer is not None else Names()
        self._path: tuple[str, ...] = outer._path if outer is not None else ()
        self._place: tuple[str, int] | None = None
        self._variable = ""  # of a program, that is written now
        self._last: Node | None = None  # the last engine primitive of the call before this one
        self._newest: Node | None = None  # the last engine primitive so far

    @contextmanager
    def call(self, name: str, place: tuple[str, int] | None = None) -> Iterator[None]:
        """Everything emitted inside belongs to one call of the user's, made here or at `place`."""
        if self._place is not None:  # a component built of components: the outer call counts
            yield
            return
        self._path, outer_path = (*self._path, self._names.fresh(name)), self._path
        self._place = place or user_place() or self._home or user_frame()
        self._last = self._newest
        try:
            yield
        finally:
            self._path = outer_path
            self._place = None

    @contextmanager
    def writing(self, variable: str) -> Iterator[None]:
        """What is emitted inside writes a variable of a program."""
        self._variable = variable
        try:
            yield
        finally:
            self._variable = ""

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Calls made here are calls of their own again, inside the call around them."""
        place, self._place = self._place, None
        try:
            yield
        finally:
            self._place = place

    @property
    def place(self) -> tuple[str, int]:
        """File and line of the call that is made now."""
        return self._place or user_frame()

    def after(self, args: Sequence[Arg]) -> tuple[str, ...]:
        """The node that an engine primitive follows, where no value says so."""
        if self._last is None:
            return ()
        is_read = any(isinstance(arg, Ref) and arg.name in self._last.outputs for arg in args)
        return () if is_read else (self._last.name,)

    def origin(self) -> Origin:
        """Of a node that is made now."""
        file, line = self._place or self._home or user_frame()
        return Origin("/".join(self._path), file, line, self._variable)

    def add(self, node: Node) -> None:
        """An engine primitive was made: the rest of its call follows by its values."""
        self._last = None
        self._newest = node
