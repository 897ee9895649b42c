"""`teola cache show | clear`."""

from dataclasses import asdict
from pathlib import Path

from rich.filesize import decimal

from backends.errors import ConfigError
from runtime.memo.folder import FILE, Folder, FolderStats
from runtime.memo.memos import default_folder
from teola.cli.failures import reported
from teola.cli.results import json_text
from teola.viewer.formats import count


def show_memo(folder: Path | None, as_json: bool, debug: bool) -> None:
    """Where the memo is, and how much it holds."""
    with reported(debug):
        memo = _open(folder)
        stats = memo.stats()
        if as_json:
            print(json_text({"folder": str(memo.path), **asdict(stats)}, indent=2))
        else:
            print(f"{memo.path}: {_described(stats)}")


def clear_memo(folder: Path | None, debug: bool) -> None:
    """Remove all values."""
    with reported(debug):
        memo = _open(folder)
        stats = memo.stats()
        if stats.num_values:
            memo.clear()
        print(f"{memo.path}: forgot {_described(stats)}")


def _open(folder: Path | None) -> Folder:
    if folder is not None and not (folder / FILE).exists():
        raise ConfigError(f"{folder} remembers nothing: there is no {FILE} in it")
    return Folder(default_folder() if folder is None else folder)


def _described(stats: FolderStats) -> str:
    return f"{count(stats.num_values, 'value')}, {decimal(stats.num_bytes)}"
