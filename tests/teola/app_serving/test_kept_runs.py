"""Runs of a service that are kept on disk."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import teola as tl
from runtime.errors import RunStoreFailed
from runtime.run_store.served import ServedRuns
from runtime.run_store.store import RunStore
from teola.app_serving.kept_runs import Keeping
from teola.app_serving.retention import Retention
from teola.runner import AppRunner, chosen_runner

Serve = Callable[..., Any]
llm = tl.LLM("fake:")
made: list[str] = []


@tl.tool
def send(text: str) -> str:
    """Send a text."""
    made.append(text)
    return f"sent {text}"


@tl.tool(approval=True)
def pay(who: str) -> str:
    """Pay somebody."""
    made.append(f"pay {who}")
    return f"paid {who}"


@tl.app
async def news(topic: str) -> str:
    draft = await tl.value(send(f"draft of {topic}"))
    if await tl.approve("Publish?", draft):
        return await tl.value(send("published"))
    return "kept"


@tl.app
def papers(topics: list[str]) -> list[str]:
    return tl.map(news, topics)


clerk = tl.Agent("clerk", llm, tools=[send, pay])


@tl.app
def office(task: str) -> list[str]:
    return [clerk(task)]


@tl.app
async def talk(question: str) -> str:
    return "yes" if await tl.approve(question) else "no"


@tl.app
async def plain(name: str) -> str:
    return await tl.value(send(name))


@tl.app
async def failing(name: str) -> str:
    sent = await tl.value(send(name))
    if len(made) == 1:
        raise ValueError("not yet")
    return sent


@tl.app
async def private(key: SecretStr) -> str:
    return await tl.value(send("x")) if await tl.approve("Really?") else "no"


def reply(prompt: str) -> str:
    call = tl.fake.tool_call
    if "paid ann" in prompt:
        return "done"
    return "refused" if "not allowed" in prompt else call("send", text="x") + call("pay", who="ann")


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    made.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


@pytest.fixture
def keeping(tmp_path: Path) -> Keeping:
    return Keeping(tmp_path / "runs", Retention())


def waiting(client: Any, app: str, **arguments: Any) -> Any:
    """A run that has come to its question."""
    answer = client.run(app, arguments=arguments)
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting"), answer.text
    return answer.json()


def ended(client: Any, run_id: str) -> Any:
    return client.until(f"/v1/runs/{run_id}", lambda run: run["status"] != "running")


def approve(client: Any, run_id: str, **body: Any) -> Any:
    return client.http.post(f"/v1/runs/{run_id}/approve", json=body)


@pytest.mark.parametrize(("answer", "result"), [(True, "sent published"), (False, "kept")])
def test_a_run_waits_and_goes_on_with_its_answer(
    serve: Serve, keeping: Keeping, answer: bool, result: str
) -> None:
    with serve(news, keeping=keeping) as client:
        run = waiting(client, "news", topic="rain")
        (asked,) = run["waits_for"]
        assert (asked["question"], asked["subject"]) == ("Publish?", "sent draft of rain")
        assert client.http.get(f"/v1/runs/{run['id']}").json()["waits_for"] == [asked]
        (listed,) = client.http.get("/v1/runs").json()["data"]
        assert (listed["id"], listed["status"]) == (run["id"], "waiting")
        going_on = approve(client, run["id"], approved=answer)
        assert going_on.status_code == 202
        found = ended(client, run["id"])
        assert (found["status"], found["result"]) == ("completed", result)
        assert approve(client, run["id"], approved=answer).status_code == 409
        assert client.http.get("/v1/runs").json()["data"] == []
    assert made.count("draft of rain") == 1


@tl.app
def untraceable(name: str, number: int) -> str:
    made.append(f"traced with {number}")
    if len(made) == 1:
        raise ValueError("not yet")
    return send(name)


def test_a_run_whose_app_did_not_begin_may_be_resumed(serve: Serve, keeping: Keeping) -> None:
    with serve(untraceable, keeping=keeping) as client:
        run = client.run("untraceable", arguments={"name": "ann", "number": 1}).json()
        assert run["status"] == "failed"
        assert client.http.post(f"/v1/runs/{run['id']}/resume").status_code == 202
        assert ended(client, run["id"])["result"] == "sent ann"


def test_who_answered_and_when_is_kept(serve: Serve, keeping: Keeping) -> None:
    with serve(news, talk, keeping=keeping) as client:
        run = waiting(client, "news", topic="rain")
        (asked,) = run["waits_for"]
        assert run["answered"] == []
        for name in ("", "a\nb", "x" * 201):
            refused = approve(client, run["id"], approved=True, by=name)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "by")
        going_on = approve(client, run["id"], approved=True, by="Ann Lee").json()
        found = ended(client, run["id"])
        (given,) = found["answered"]
        assert going_on["answered"] == [given]
        assert (given["id"], given["question"], given["value"]) == (asked["id"], "Publish?", True)
        assert (given["by"], given["at"] >= asked["since"]) == ("Ann Lee", True)
        unnamed = waiting(client, "talk", question="Who?")["id"]
        approve(client, unnamed, approved=False)
        assert ended(client, unnamed)["answered"][0]["by"] is None
    with serve(news, talk, keeping=keeping) as client:
        assert client.http.get(f"/v1/runs/{run['id']}").json() == found


def test_another_server_answers_for_runs_of_the_one_before(serve: Serve, keeping: Keeping) -> None:
    with serve(news, plain, keeping=keeping) as client:
        run = waiting(client, "news", topic="rain")
        done = client.run("plain", arguments={"name": "ann"}).json()
    with serve(news, plain, keeping=keeping) as client:
        assert client.http.get(f"/v1/runs/{done['id']}").json() == done
        assert client.http.get(f"/v1/runs/{run['id']}").json()["status"] == "waiting"
        approve(client, run["id"], approved=True)
        assert ended(client, run["id"])["result"] == "sent published"
    assert made == ["draft of rain", "ann", "published"]


def test_many_runs_wait_and_take_no_place(serve: Serve, keeping: Keeping) -> None:
    with serve(talk, keeping=keeping, max_runs=2) as client:
        ids = [waiting(client, "talk", question=f"q{n}")["id"] for n in range(50)]
        assert client.service.is_idle()
        assert len(client.http.get("/v1/runs").json()["data"]) == 50
        assert client.metric('teola_app_runs_total{app="talk",status="waiting"}') == 50
        for run_id in ids[::10]:
            assert approve(client, run_id, approved=True).status_code == 202
            assert ended(client, run_id)["result"] == "yes"
        assert len(client.http.get("/v1/runs").json()["data"]) == 45


def test_the_runs_of_a_map_wait_each_for_its_own_answer(serve: Serve, keeping: Keeping) -> None:
    with serve(papers, keeping=keeping) as client:
        run = waiting(client, "papers", topics=["a", "b", "c"])
        answers = {"sent draft of a": True, "sent draft of b": False, "sent draft of c": True}
        for _ in range(6):
            if run["status"] != "waiting":
                break
            (asked,) = run["waits_for"]
            said = answers[asked["subject"]]
            going_on = approve(client, run["id"], approved=said, question=asked["id"])
            assert going_on.status_code == 202
            run = ended(client, run["id"])
        assert run["result"] == ["sent published", "kept", "sent published"]
    assert sorted(made) == ["draft of a", "draft of b", "draft of c", "published", "published"]


@tl.app
async def votes(names: list[str]) -> list[bool]:
    return await asyncio.gather(*(tl.approve(f"{name}?") for name in names))


def test_tasks_ask_in_turn_and_answers_name_their_questions(serve: Serve, keeping: Keeping) -> None:
    with serve(votes, keeping=keeping) as client:
        run = waiting(client, "votes", names=["a", "b", "c"])
        before = "none"
        for name in ("a", "b", "c"):
            (asked,) = run["waits_for"]
            assert asked["question"] == f"{name}?"
            late = approve(client, run["id"], approved=True, question=before)
            assert late.json()["error"]["code"] == "not_waiting"
            given = {"approved": name != "b", "question": asked["id"]}
            assert approve(client, run["id"], **given).status_code == 202
            before, run = asked["id"], ended(client, run["id"])
        assert run["result"] == [True, False, True]


@pytest.mark.parametrize("app", [clerk, office])
def test_a_tool_of_an_agent_waits(serve: Serve, keeping: Keeping, app: Any) -> None:
    with tl.fake(llm, reply), serve(app, keeping=keeping) as client:
        run = waiting(client, app.name, **{app.parameters[0].name: "go"})
        (asked,) = run["waits_for"]
        assert (asked["question"], asked["subject"]) == ("May clerk call pay?", {"who": "ann"})
        approve(client, run["id"], approved=True)
        assert ended(client, run["id"])["result"] in ("done", ["done"])
    assert made == ["x", "pay ann"]


@tl.app
async def titled(topic: str) -> str:
    return await tl.approve("Which title?", topic, returns=str)


def test_an_answer_may_be_a_value(serve: Serve, keeping: Keeping) -> None:
    with serve(titled, keeping=keeping) as client:
        run = waiting(client, "titled", topic="tea")
        assert run["waits_for"][0]["answer"] == {"type": "string"}
        refused = approve(client, run["id"], approved=True)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "value")
        assert approve(client, run["id"], value="Green").status_code == 202
        assert ended(client, run["id"])["result"] == "Green"


@tl.app
async def maybe_titled(topic: str) -> str | None:
    return await tl.approve("Which title?", topic, returns=str | None)  # type: ignore[arg-type]


def test_null_is_an_answer_where_the_question_asks_for_it(serve: Serve, keeping: Keeping) -> None:
    with serve(maybe_titled, titled, keeping=keeping) as client:
        run = waiting(client, "maybe_titled", topic="tea")
        assert {"type": "null"} in run["waits_for"][0]["answer"]["anyOf"]
        assert approve(client, run["id"], value=None).status_code == 202
        found = ended(client, run["id"])
        assert (found["status"], found["result"]) == ("completed", None)
        other = waiting(client, "titled", topic="tea")
        refused = approve(client, other["id"], value=None)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "value")


def test_an_answer_that_cannot_be_written_is_given_and_known(
    serve: Serve, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> "Future[None]":
        failed: Future[None] = Future()
        failed.set_exception(RunStoreFailed("the disk is full"))
        return failed

    with serve(plain, keeping=keeping) as client:
        monkeypatch.setattr(ServedRuns, "answer", full)
        run = client.run("plain", arguments={"name": "ann"}).json()
        assert run["result"] == "sent ann"
        assert client.http.get(f"/v1/runs/{run['id']}").json() == run
        monkeypatch.setattr(RunStore, "begin", lambda *_, **__: full(None, "", b""))
        refused = client.run("plain", arguments={"name": "ann"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "run_store_failed")
    assert made == ["ann"]


def test_a_stream_and_a_chat_say_that_the_run_waits(serve: Serve, keeping: Keeping) -> None:
    with serve(talk, keeping=keeping) as client:
        last = client.events("talk", question="Now?")[-1]
        assert (last["type"], last["waits_for"][0]["question"]) == ("waiting", "Now?")
        chat = client.chat("talk", "Now?")
        assert (chat.status_code, chat.json()["error"]["code"]) == (409, "approval_pending")
        assert "/v1/runs/run_" in chat.json()["error"]["message"]


def test_what_fails_goes_on_when_it_is_resumed(serve: Serve, keeping: Keeping) -> None:
    with serve(failing, keeping=keeping) as client:
        failed = client.run("failing", arguments={"name": "ann"}).json()
        assert failed["status"] == "failed"
        made.append("ready")
        resumed = client.http.post(f"/v1/runs/{failed['id']}/resume", json={})
        assert resumed.status_code == 202
        found = ended(client, failed["id"])
        again = client.http.post(f"/v1/runs/{failed['id']}/resume")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "run_completed")
    assert (found["status"], found["result"]) == ("completed", "sent ann")
    assert made == ["ann", "ready"]


def test_a_waiting_run_can_be_cancelled(serve: Serve, keeping: Keeping) -> None:
    with serve(talk, keeping=keeping) as client:
        run = waiting(client, "talk", question="Now?")
        cancelled = client.http.post(f"/v1/runs/{run['id']}/cancel").json()
        assert (cancelled["status"], cancelled["waits_for"]) == ("cancelled", [])
        assert client.http.get(f"/v1/runs/{run['id']}").json() == cancelled
        assert approve(client, run["id"], approved=True).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"approved": True, "value": 1}, 400),
        ({"approved": None}, 400),
        ({"value": None}, 400),
        ({"approved": "yes"}, 400),
        ({"approved": True, "question": "none"}, 409),
    ],
)
def test_wrong_answers_are_refused(
    serve: Serve, keeping: Keeping, body: dict[str, Any], status: int
) -> None:
    with serve(talk, keeping=keeping) as client:
        run = waiting(client, "talk", question="Now?")
        assert approve(client, run["id"], **body).status_code == status
        assert client.http.get(f"/v1/runs/{run['id']}").json()["status"] == "waiting"


def test_without_a_folder_no_run_can_go_on(serve: Serve) -> None:
    with serve(plain) as client:
        run = client.run("plain", arguments={"name": "ann"}).json()
        for path, body in (("approve", {"approved": True}), ("resume", {})):
            refused = client.http.post(f"/v1/runs/{run['id']}/{path}", json=body)
            assert refused.json()["error"]["code"] == "not_kept"


def test_secrets_among_the_arguments_are_not_kept(serve: Serve, keeping: Keeping) -> None:
    with serve(private, keeping=keeping) as client:
        run = waiting(client, "private", key="hunter2")
        refused = approve(client, run["id"], approved=True)
        assert refused.json()["error"]["code"] == "arguments_not_kept"
        given = {"key": "hunter2"}
        assert approve(client, run["id"], approved=True, arguments=given).status_code == 202
        assert ended(client, run["id"])["result"] == "sent x"
    for path in keeping.folder.iterdir():
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


def test_old_runs_are_forgotten_and_waiting_ones_are_not(serve: Serve, tmp_path: Path) -> None:
    keeping = Keeping(tmp_path / "runs", Retention(most_runs=3))
    with serve(plain, talk, keeping=keeping) as client:
        waits = waiting(client, "talk", question="Now?")["id"]
        ids = [client.run("plain", arguments={"name": str(n)}).json()["id"] for n in range(6)]
        gone = client.until(
            f"/v1/runs/{ids[2]}", lambda found: "error" in found and "id" not in found
        )
        assert gone["error"]["code"] == "run_not_found"
        assert all(client.http.get(f"/v1/runs/{each}").is_success for each in (waits, *ids[3:]))


def test_a_run_of_the_command_line_is_none_of_the_service(serve: Serve, keeping: Keeping) -> None:
    plain.using(runs=str(keeping.folder))("ann")
    (run,) = tl.runs(keeping.folder)
    with serve(plain, keeping=keeping) as client:
        assert client.http.get(f"/v1/runs/{run.id}").status_code == 404
        assert json.loads(client.http.get("/v1/runs").text)["data"] == []
