from collections.abc import Sequence

from rich.console import Console

from teola.top.screen import screen
from teola.top.views import Load, RunView, ServerView, Work

APPS = "http://127.0.0.1:8000"


def run(number: int = 0, **changes: object) -> RunView:
    fields = {
        "id": f"run_{number:08}",
        "app": f"rag{number}",
        "age_s": 10.0 - number,
        "done": 2,
        "total": 8,
        "failed": 0,
        "prompt_tokens": 40,
        "cached_tokens": 10,
        "tokens": 12 + number,
        "num_running": 1,
        "waiting": {"reranker": 2},
        "running": (Work("answer", "decode", "llm", 1.5),),
        **changes,
    }
    return RunView(**fields)  # type: ignore[arg-type]


def apps(*runs: RunView) -> ServerView:
    return ServerView(APPS, "apps", load=Load(1, 2, 33.3, 0.25), runs=runs)


def lines(
    views: Sequence[ServerView], width: int = 120, height: int = 0, order: str = "age"
) -> list[str]:
    console = Console(width=width, color_system=None, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(screen(views, width, height, order))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_line_says_what_a_server_does() -> None:
    engine = ServerView("http://h:30000", "engine", load=Load(2, 3, None, 0.5, 0.6))

    assert lines([apps(), engine]) == [
        f"{APPS}  apps  0 runs, 1 primitive running, 2 waiting, 33.3 tokens/s, hit rate 25%",
        "http://h:30000  engine  2 running, 3 waiting, KV 60%, hit rate 50%",
    ]


def test_a_run_says_how_far_it_is_what_runs_and_what_it_waits_for() -> None:
    *_, row = lines([apps(run())])

    assert row.split() == [
        *("rag0", "10.0", "s", "2/8", "12", "███░░░░░░░░░"),
        *("answer", "decode", "on", "llm", "1.50", "s", "reranker", "2", "00000000"),
    ]


def test_of_several_primitives_the_longest_is_named() -> None:
    works = (Work("a", "embed", "e", 0.1), Work("b", "decode", "llm", 2.0))

    assert "b decode on llm 2.00 s +4" in lines([apps(run(running=works, num_running=5))])[-1]


def test_a_run_of_which_nothing_runs_waits_or_is_plain_python() -> None:
    waiting = run(running=(), num_running=0)
    idle = run(1, running=(), num_running=0, waiting={}, failed=1)
    rows = lines([apps(waiting, idle)])[-2:]

    assert "waits" in rows[0]
    assert "plain Python" in rows[1]
    assert "1 failed" in rows[1]


def test_runs_come_by_age_or_tokens_or_app() -> None:
    runs = apps(run(2), run(0), run(1))
    names = {
        order: [line.split()[0] for line in lines([runs], order=order)[-3:]]
        for order in ("age", "tokens", "app")
    }

    assert names["age"] == ["rag0", "rag1", "rag2"]
    assert names["tokens"] == ["rag2", "rag1", "rag0"]
    assert names["app"] == ["rag0", "rag1", "rag2"]


def test_a_small_terminal_is_never_overfull() -> None:
    views = [apps(*map(run, range(50))), ServerView("http://h:1", problem="not answering")]
    for width, height in ((120, 24), (80, 12), (40, 8), (24, 6)):
        shown = lines(views, width, height)
        assert len(shown) <= height, (width, height)
        assert max(map(len, shown)) <= width
        assert shown[-2].startswith("and "), shown
        assert shown[-2].endswith(" more runs"), shown


def test_what_a_server_calls_its_things_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J"
    shown = "\n".join(lines([apps(run(app=evil, waiting={evil: 1}))]))

    assert "\x1b" not in shown
    assert "\x07" not in shown
