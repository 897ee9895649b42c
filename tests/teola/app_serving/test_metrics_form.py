"""`/metrics` of a service of apps keeps to Prometheus' conventions."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metrics_form import check_form, names_in, names_on, series_of

sys.path.insert(0, str(Path(__file__).parent))

from service_apps import ask, fail, twice

Serve = Callable[..., Any]
DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_keeps_to_the_conventions_and_has_what_the_docs_name(serve: Serve) -> None:
    with serve(ask, twice, fail) as client:
        client.run("ask", arguments={"question": "tea"})
        client.events("twice", question="tea")
        client.run("fail", arguments={"question": "tea"})
        client.run("ask", arguments={})
        page = client.http.get("/metrics").text
    check_form(page)
    assert {
        (name, dict(labels).get("app"), dict(labels).get("status"))
        for name, labels in series_of(page)
        if name == "teola_app_runs_total"
    } == {
        ("teola_app_runs_total", "ask", "completed"),
        ("teola_app_runs_total", "twice", "completed"),
        ("teola_app_runs_total", "fail", "failed"),
    }
    section = (DOCS / "observability.md").read_text().partition("### Apps")[2]
    assert names_in([section]) <= names_on(page)


def test_what_clients_name_makes_no_new_series(serve: Serve) -> None:
    with serve(ask) as client:

        def call(number: int) -> None:
            client.run(f"none{number}", arguments={})
            client.http.get(f"/v1/runs/run_{number}")
            client.http.get(f"/nothing/{number}")
            client.run("ask", arguments={"question": f"{number}"})
            client.chat(f"none{number}", "tea")

        call(0)
        client.http.get("/metrics")  # which counts too
        before = series_of(client.http.get("/metrics").text)
        for number in range(1, 15):
            call(number)
        assert series_of(client.http.get("/metrics").text) == before
