"""OpenAI's client, LangChain's and the requests of Open WebUI talk to apps of a real process."""

import asyncio
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

sys.path.insert(0, str(Path(__file__).parent))

from app_process import HERE, Process, apps_process

pytestmark = pytest.mark.server
APPS = [f"{HERE}/process_apps.py:{name}" for name in ("ask", "talk", "both")]


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with apps_process(*APPS, "--api-key", "secret") as process:
        yield process


@pytest.fixture
def client(server: Process) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_openai_lists_the_apps_and_asks_one(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["ask", "talk"]
    assert client.models.retrieve("ask").owned_by == "teola"
    made = client.chat.completions.create(model="ask", messages=user("what?"))
    assert made.choices[0].message.content == "one two three"
    assert made.usage is not None
    assert made.usage.completion_tokens == 3


def test_openai_streams_an_answer_as_it_is_written(client: OpenAI) -> None:
    texts, usage = [], None
    options: Any = {"include_usage": True}
    for chunk in client.chat.completions.create(
        model="ask", messages=user("what?"), stream=True, stream_options=options
    ):
        usage = chunk.usage
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
    assert "".join(texts) == "one two three"
    assert usage is not None
    assert usage.completion_tokens == 3
    with client.chat.completions.create(model="ask", messages=user("long"), stream=True) as begun:
        pieces = (chunk.choices[0].delta.content for chunk in begun)
        first = "".join(islice(filter(None, pieces), 3))
    assert 3 <= first.count("word ") < 500  # the whole text


def test_openais_async_client_asks_and_streams_side_by_side(server: Process) -> None:
    async def main() -> list[str]:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret") as client:
            return await asyncio.gather(*(_whole(client), _streamed(client)))

    assert asyncio.run(main()) == ["one two three", "one two three"]


async def _whole(client: AsyncOpenAI) -> str:
    made = await client.chat.completions.create(model="talk", messages=user("what?"))
    return str(made.choices[0].message.content)


async def _streamed(client: AsyncOpenAI) -> str:
    async with client.chat.completions.stream(model="ask", messages=user("what?")) as stream:
        return str((await stream.get_final_completion()).choices[0].message.content)


def test_openai_is_told_why_an_app_cannot_chat(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="'both' cannot chat") as caught:
        client.chat.completions.create(model="both", messages=user("what?"))
    assert caught.value.param == "model"
    with pytest.raises(openai.NotFoundError, match="this server has ask, talk"):
        client.chat.completions.create(model="gpt-5", messages=user("what?"))
    with pytest.raises(openai.BadRequestError, match="n is not supported"):
        client.chat.completions.create(model="ask", messages=user("what?"), n=2)


@pytest.mark.filterwarnings("ignore")  # of theirs
def test_langchain_asks_and_streams(server: Process) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI

    url = f"{server.url}/v1"
    model = ChatOpenAI(base_url=url, api_key="secret", model="talk", temperature=0.2, max_retries=0)
    said = [SystemMessage("Be brief."), HumanMessage("a"), AIMessage("b"), HumanMessage("c")]
    answer = model.invoke(said)
    assert answer.content == "one two three"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 3
    assert "".join(str(chunk.content) for chunk in model.stream(said)) == "one two three"


def test_requests_of_open_webui_are_answered(server: Process) -> None:
    """As 0.12.4 sends them: it lists models, chats with tools of its page, and asks for a title."""
    now = {"name": "get_current_timestamp", "description": "The time.", "parameters": {}}
    now |= {"x-server": "a tool server's own"}
    said = [{"role": "system", "content": "User: Bob"}, *user("what?")]
    chat = {
        "stream": True,
        "model": "ask",
        "messages": said,
        "tools": [{"type": "function", "function": now}],
        "stream_options": {"include_usage": True},
    }
    title = {"model": "ask", "messages": user("### Task"), "stream": False, "max_tokens": 1000}
    head = {"authorization": "Bearer secret"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=head) as http:
        listed = http.get("/models").json()["data"]
        assert [(card["id"], card["object"]) for card in listed] == [
            ("ask", "model"),
            ("talk", "model"),
        ]
        streamed = http.post("/chat/completions", json=chat)
        assert streamed.headers["content-type"].startswith("text/event-stream")
        pieces = re.findall(r'"content":"([^"]*)"', streamed.text)
        assert "".join(pieces) == "one two three"
        assert http.post("/chat/completions", json=title).status_code == 200


@pytest.mark.model
def test_a_sample_on_a_real_model_is_a_model(tmp_path: Path) -> None:
    with (
        apps_process("samples/debate.py:debate", "samples/debate.py:ann") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        streamed = "".join(
            chunk.choices[0].delta.content or ""
            for chunk in client.chat.completions.create(
                model="ann", messages=user("Is tea good?"), stream=True
            )
        )
        whole = client.chat.completions.create(model="ann", messages=user("Is tea good?"))
        ruling = client.chat.completions.create(model="debate", messages=user("Is tea good?"))
    assert whole.choices[0].message.content == streamed != ""
    assert '"winner": "' in str(ruling.choices[0].message.content)
