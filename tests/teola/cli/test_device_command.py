"""`teola device`."""

import json
from pathlib import Path

from typer.testing import CliRunner

from teola.cli.main import app


def test_devices_and_models_are_listed() -> None:
    shown = CliRunner().invoke(app, ["device", "list", "--no-color"])
    assert shown.exit_code == 0
    for word in ("h100", "llama-3.1-8b", "bge-reranker-large", "8,030 M"):
        assert word in shown.output


def test_the_list_is_json_too() -> None:
    shown = CliRunner().invoke(app, ["device", "list", "--json"])
    listed = json.loads(shown.output)
    assert listed["devices"]["h100"]["peak_flops"]["bfloat16"] == 989.4e12
    assert listed["models"]["llama-3.1-8b"]["layers"] == 32


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "none" / "mine.toml"
    shown = CliRunner().invoke(app, ["device", "measure", str(file)])
    assert shown.exit_code != 0
    assert "no folder" in shown.output
