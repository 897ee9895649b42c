"""A server is started, waited for and stopped, however it behaves."""

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from stand_in_server import StandIn

from backends.errors import ConfigError, EngineUnavailable
from backends.processes import process_group
from backends.processes.process_group import is_alive
from teola.launching import launch, records
from teola.launching.recipes import Settings


def test_a_server_is_ready_when_its_health_check_passes(stand_in: StandIn) -> None:
    with stand_in.start() as server:
        record = server.record
        port = int(record.name.removeprefix("vllm-"))
        assert record.url == f"vllm://127.0.0.1:{port}/tiny"
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        assert records.running() == [record]
        assert launch.is_healthy(record)
    assert not is_alive(record.pid)
    assert records.running() == []
    assert not launch.is_healthy(record)


def test_a_server_with_a_key_is_asked_with_it_and_the_key_is_not_kept(stand_in: StandIn) -> None:
    settings = Settings(port=0, extra=("--api-key", "sk-secret"))
    with stand_in.start("sglang", settings=settings) as server:
        assert launch.is_healthy(server.record)
        for path in records.folder().iterdir():
            assert "sk-secret" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("--port", "1"), ("--host=::",), ("--served-model-name", "x")])
def test_words_that_hide_the_server_are_refused_before_anything_starts(
    stand_in: StandIn, words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=words[0].partition("=")[0]):
        stand_in.start(settings=Settings(port=0, extra=words))
    assert records.running() == []


def test_a_slow_server_is_waited_for_and_its_last_line_is_told(stand_in: StandIn) -> None:
    stand_in.behave("slow")
    told: list[launch.Waiting] = []

    def tell(now: launch.Waiting) -> None:
        told.append(now)
        if now.last_line == "loading weights":
            stand_in.finish_loading()

    with stand_in.start(tell=tell) as server:
        assert told[-1].name == server.record.name
        assert told[-1].last_line == "loading weights"
        assert 0 < told[-1].elapsed_s < 30


def test_a_crash_shows_the_end_of_the_log_and_what_to_do(stand_in: StandIn) -> None:
    stand_in.behave("crash")
    with pytest.raises(EngineUnavailable) as caught:
        stand_in.start()
    message = str(caught.value)
    assert "did not start (exit code 1)" in message
    assert "\n  | loading weights\n" in message
    assert "the package 'zmq' is missing there: run `pip install \"teola[vllm]\"`" in message
    assert records.running() == []


def test_a_server_that_never_answers_is_given_up_and_stopped(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.behave("never")
    seen = _spawned(monkeypatch)
    with pytest.raises(EngineUnavailable, match=r"did not answer within 0\.5 s"):
        stand_in.start(wait_s=0.5)
    assert not is_alive(seen[0])


def test_an_interrupt_while_it_starts_leaves_no_process(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.behave("never")
    seen = _spawned(monkeypatch)

    def interrupt(now: launch.Waiting) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stand_in.start(tell=interrupt)
    assert not is_alive(seen[0])
    assert records.running() == []


def test_a_server_that_ignores_sigterm_is_killed_with_its_children(stand_in: StandIn) -> None:
    stand_in.behave("stubborn")
    server = stand_in.start()
    server.stop(grace_s=0.2)
    assert not is_alive(server.record.pid)


def test_the_children_of_a_server_that_ended_are_ended_too(stand_in: StandIn) -> None:
    stand_in.behave("parent")
    server = stand_in.start()
    server.stop(grace_s=0.5)
    assert not is_alive(server.record.pid)


def test_a_server_that_prints_a_lot_does_not_block(stand_in: StandIn) -> None:
    stand_in.behave("chatty")
    with stand_in.start() as server:
        assert Path(server.record.log).stat().st_size > 4_000_000


def test_a_server_that_ends_by_itself_is_told_with_its_log(stand_in: StandIn) -> None:
    with stand_in.start() as server:
        process_group.stop_group(server.record.pid, 5.0, server.poll)
        with pytest.raises(EngineUnavailable, match=r"has ended with exit code \d+; the end of"):
            server.wait()


def test_a_taken_port_is_refused_before_anything_starts(stand_in: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineUnavailable, match=f"port {port} .* is taken.*--port 0"):
            stand_in.start(settings=Settings(port=port))
    assert not (stand_in.python.parent / "started").exists()


def test_two_servers_on_free_ports_run_side_by_side(stand_in: StandIn) -> None:
    with stand_in.start() as first, stand_in.start() as second:
        assert records.running() == [first.record, second.record]
        assert records.find(second.record.url) == second.record
        assert records.find(first.record.name.removeprefix("vllm-")) == first.record
        with pytest.raises(ConfigError, match=f"which server.*{first.record.name}"):
            records.find(None)


def test_a_port_that_somebody_took_meanwhile_is_replaced_by_another(stand_in: StandIn) -> None:
    stand_in.behave("raced")
    with stand_in.start() as server:
        assert len(stand_in.command_lines) == 2
        assert server.record.name.removeprefix("vllm-") in stand_in.command_lines[1]


def test_an_address_that_is_not_ours_is_refused(stand_in: StandIn) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        stand_in.start(settings=Settings(host="192.0.2.1", port=0))


def test_a_server_for_all_addresses_is_reached_on_this_machine(stand_in: StandIn) -> None:
    with stand_in.start(settings=Settings(host="0.0.0.0", port=0)) as server:
        assert server.record.url.startswith("vllm://127.0.0.1:")


def test_keys_on_the_command_line_are_neither_logged_nor_kept(stand_in: StandIn) -> None:
    extra = ("--api-key", "geheim-1", "--hf-token=geheim-2")
    with stand_in.start(settings=Settings(port=0, extra=extra)) as server:
        log = Path(server.record.log)
        kept = records.folder().joinpath(f"{server.record.name}.json").read_text()
        assert "geheim-1 --hf-token=geheim-2" in stand_in.command_lines[0]
        assert "--api-key *** --hf-token=***" in log.read_text()
        assert "geheim" not in log.read_text() + kept
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_detached_server_runs_on_and_is_found_again(stand_in: StandIn) -> None:
    record = stand_in.start("sglang", is_detached=True).leave()
    assert records.find(None) == record
    assert record.url.startswith("sglang://")
    process_group.stop_group(record.pid)
    assert records.running() == []


def test_a_record_of_a_process_that_is_another_one_now_is_dropped(stand_in: StandIn) -> None:
    with stand_in.start() as server:
        records.keep(replace(server.record, identity="an earlier one's"))
        assert records.running() == []
        assert not records.folder().joinpath(f"{server.record.name}.json").exists()


def test_old_logs_are_removed_but_not_those_of_running_servers(stand_in: StandIn) -> None:
    records.folder().mkdir(parents=True)
    for number in range(30):
        log = records.folder() / f"vllm-{number}.log"
        log.touch()
        os.utime(log, (number, number))
    records.prune_logs(["vllm-0"])
    left = {path.stem for path in records.folder().glob("*.log")}
    assert left == {"vllm-0", *(f"vllm-{number}" for number in range(10, 30))}


@pytest.mark.parametrize(("users", "given"), [(None, "4"), ("40", None)])
def test_the_kv_cache_on_a_cpu_is_bounded_unless_the_user_says_how_large_it_is(
    users: str | None, given: str | None, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    if users is not None:
        monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", users)
    original, seen = launch.spawn, []

    def spawn(words: Any, log: Any, variables: Any, **options: Any) -> Any:
        seen.append(variables.get("VLLM_CPU_KVCACHE_SPACE"))
        return original(words, log, variables, **options)

    monkeypatch.setattr(launch, "spawn", spawn)
    with stand_in.start():
        pass
    assert seen == [given]


def _spawned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The groups that are started from now on."""
    seen: list[int] = []
    original: Callable[..., Any] = launch.spawn

    def spawn(*args: Any, **options: Any) -> Any:
        process = original(*args, **options)
        seen.append(process.pid)
        return process

    monkeypatch.setattr(launch, "spawn", spawn)
    return seen
