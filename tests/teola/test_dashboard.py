"""docs/grafana.json asks for what the servers' metrics have, in the way of their types."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from metrics_form import families_of, series_of

import teola as tl
from backends.fake.llm import FakeLLM
from backends.llm.stats import CacheStats
from teola.app_serving.app import make_app as make_apps
from teola.app_serving.service import AppService
from teola.serving.app import make_app
from teola.serving.served_engines import ServedEngines

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs/grafana.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
NAME = re.compile(r"\bteola_[a-z0-9_]+")
SAY = {"messages": [{"role": "user", "content": "tea"}], "max_tokens": 4}
llm = tl.LLM("fake:")


class WithCache(FakeLLM):
    def cache_stats(self) -> CacheStats:
        return CacheStats(num_pages=8)


@tl.prompt(llm, max_tokens=8)
def say(question: str) -> str:
    return question


@tl.app
def ask(question: str) -> str:
    return say(question)


async def told_by_servers() -> list[str]:
    """Of a server of engines and of one of apps, after some work."""
    engines = ServedEngines([("fake:talker", WithCache("fake:talker", {}))], 8)
    await engines.start()
    engines.metrics.count_closed("idle")
    service = AppService([ask], 4)
    await service.start()
    found = []
    for app, path, body in (
        (make_app(engines), "/v1/chat/completions", SAY),
        (make_apps(service), "/v1/apps/ask/runs", {"arguments": {"question": "tea"}}),
    ):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            assert (await client.post(path, json=body)).status_code == 200
            await client.get("/metrics")
            found.append((await client.get("/metrics")).text)
    await service.close()
    await engines.close()
    return found


@pytest.fixture(scope="module")
def pages() -> list[str]:
    return asyncio.run(told_by_servers())


def labels_of(query: str) -> Iterator[tuple[str, set[str]]]:
    """Each `sum by (a, b) (... name ...)` as the name with what it is split by."""
    for found in re.finditer(r"sum(?: by \(([^)]*)\))? ?\((?:rate\()?(teola_\w+)", query):
        yield found[2], {label.strip() for label in (found[1] or "").split(",")} - {""}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_series_and_labels_that_there_are(query: str, pages: list[str]) -> None:
    series = set().union(*map(series_of, pages))
    names = NAME.findall(query)
    assert names
    assert [name for name, _ in labels_of(query)] == names
    for name, wanted in labels_of(query):
        own = [{label for label, _ in labels} for told, labels in series if told == name]
        assert own, f"no series is called {name}"
        assert all(wanted <= labels for labels in own), (name, wanted)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_takes_rates_of_what_grows_and_of_nothing_else(
    query: str, pages: list[str]
) -> None:
    families = [family for page in pages for family in families_of(page).values()]
    types = {sample.name: family.type for family in families for sample in family.samples}
    for name in NAME.findall(query):
        is_rated = f"rate({name}[$__rate_interval])" in query
        assert is_rated is (types[name] in ("counter", "histogram")), name


def test_quantiles_are_of_buckets_by_their_ends() -> None:
    asked = [query for query in QUERIES if "histogram_quantile" in query]
    assert len(asked) > 4
    for query in asked:
        assert re.search(r"sum by \((app, )?le\) \(rate\(\w+_seconds_bucket\[", query), query


def test_panels_have_a_unit_a_place_and_the_datasource_that_is_chosen() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in DASHBOARD["panels"])
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
