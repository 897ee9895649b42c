"""What docs/serving_apps.md tells a newcomer to type, typed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from app_process import HERE, apps_process

PAGE = (HERE.parents[2] / "docs/serving_apps.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.server
@pytest.mark.model
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page types curl")
def test_the_first_program_of_the_page_is_served_and_asked_as_it_says(tmp_path: Path) -> None:
    blocks = [found.groups() for found in BLOCK.finditer(PAGE)]
    app, client = [text for kind, text in blocks if kind == "python"]
    lines = "".join(text for kind, text in blocks if not kind).splitlines()
    (serve,) = [line for line in lines if line.startswith("teola serve ")]
    curls = [line for line in lines if line.startswith("curl ")]
    (tmp_path / "app.py").write_text(app)
    words = serve.removeprefix("teola serve ").replace("app.py", f"{tmp_path}/app.py").split()
    with apps_process(*words) as server:
        address = server.url.removeprefix("http://")
        ran, chatted = (_typed(["bash", "-c", f"{c} -sS"], address) for c in curls[:2])
        printed = _typed([sys.executable, "-c", client], address)
    result = json.loads(ran)["result"]
    assert result.endswith(".")
    assert json.loads(chatted)["choices"][0]["message"]["content"] == printed == result


def _typed(words: list[str], address: str) -> str:
    here = [word.replace("localhost:8000", address) for word in words]
    return subprocess.run(here, capture_output=True, text=True, timeout=60, check=True).stdout
