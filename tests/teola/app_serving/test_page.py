"""What docs/serving_apps.md tells a newcomer to type, typed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

sys.path.insert(0, str(Path(__file__).parent))

from app_process import HERE, apps_process

PAGE = (HERE.parents[2] / "docs/serving_apps.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.server
@pytest.mark.model
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page types curl")
def test_the_first_program_of_the_page_is_served_and_asked_as_it_says(tmp_path: Path) -> None:
    blocks = [*map(_groups, BLOCK.finditer(PAGE))]
    app, client, _ = [text for kind, text in blocks if kind == "python"]
    lines = "".join(text for kind, text in blocks if not kind).splitlines()
    serve = next(line for line in lines if line.startswith("teola serve "))
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


@pytest.mark.server
@pytest.mark.model
def test_the_pages_app_with_messages_streams_its_answer(tmp_path: Path) -> None:
    blocks = map(_groups, BLOCK.finditer(PAGE))
    first, _, talk = [text for kind, text in blocks if kind == "python"]
    (tmp_path / "app.py").write_text(f"{first}\n\n{talk}")
    messages: Any = [
        {"role": "user", "content": "Name a river."},
        {"role": "assistant", "content": "The Nile."},
        {"role": "user", "content": "Name another."},
    ]
    with (
        apps_process(f"{tmp_path}/app.py:talk") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        chunks = client.chat.completions.create(model="talk", messages=messages, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in chunks]
        whole = client.chat.completions.create(model="talk", messages=messages)
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(piece or "" for piece in pieces) == whole.choices[0].message.content


def _groups(found: re.Match[str]) -> tuple[str, str]:
    return found[1], found[2]


def _typed(words: list[str], address: str) -> str:
    here = [word.replace("localhost:8000", address) for word in words]
    return subprocess.run(here, capture_output=True, text=True, timeout=60, check=True).stdout
