"""Files of a model, which may be damaged in any way: every error is typed and names the file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backends.errors import ConfigError, EngineUnavailable


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever damaged content raises, in our code or in a library, into EngineUnavailable
    with the name of `path`. ConfigError and EngineUnavailable get the name if they lack it."""
    try:
        yield
    except (ConfigError, EngineUnavailable) as error:
        if path.name in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except Exception as error:
        raise _damaged(path, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a library in Rust, which has no base
            raise
        raise _damaged(path, error) from error


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises EngineUnavailable."""
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise EngineUnavailable(f"{path} holds {type(content).__name__}, not a JSON object")
    return content


def _damaged(path: Path, error: BaseException) -> EngineUnavailable:
    what = " ".join(str(error).split())[:300]
    return EngineUnavailable(
        f"{path} is damaged or incomplete ({type(error).__name__}: {what}); "
        "fetch it again or take another copy"
    )
