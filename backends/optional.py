"""One message for every package that is missing here."""

from collections.abc import Iterator
from contextlib import contextmanager

from backends.errors import EngineUnavailable


@contextmanager
def optional_imports(extra: str) -> Iterator[None]:
    """Turns an ImportError into an EngineUnavailable that names the package and `extra`."""
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise EngineUnavailable(
            f'the package {package!r} is not installed; run `pip install "teola[{extra}]"`'
        ) from error
