"""A plan as text, with a cost model that is written here."""

from dataclasses import replace
from textwrap import dedent

from backends.base import EngineInfo
from backends.registry import EngineSpec
from graph_opt.text import parse
from runtime.cost.curves import Curve, Surface
from runtime.cost.latency import EngineLatency, LatencyModel
from teola.known_engines import KnownEngine, KnownEngines
from teola.plan import make_plan

GRAPH = parse("""
graph ask {
  %x = input [type="str"]
  %docs = input [type="list[Doc]"]
  %v = embed %docs [engine="e"]
  %index = ingest %docs %v [engine="s"]
  %c0 = context [engine="m"]
  %q.prompt = prefill %c0 "Rewrite the question in other words, briefly:" %x [engine="m"] after %index
  %q, %q.context = decode %q.prompt [engine="m", max_tokens=10]
  %qv = embed %q [engine="e"]
  %hits = search %index %q %qv [engine="s", k=4]
  %text = join %hits
  %a.prompt = prefill %c0 "Answer the question from these passages only:" %text "\\nThe question that they are to answer is this one:" %x [engine="m"]
  %a, %a.context = decode %a.prompt [engine="m", max_tokens=10]
  return %a
}
""")  # noqa: E501


TITLES = ("passes", "expected")


def engine(kind: str, is_profiled: bool = True, **each_s: float) -> KnownEngine:
    surfaces = {op: Surface.flat(Curve.line(0.0, seconds)) for op, seconds in each_s.items()}
    source = "profiled 2026-01-02" if is_profiled else "default"
    info = EngineInfo(kind, "fake", 8, capabilities=frozenset({"prefill", "fork"}))  # type: ignore[arg-type]
    latency = EngineLatency(LatencyModel(surfaces), source)
    return KnownEngine(EngineSpec(kind, "fake:"), info, latency)  # type: ignore[arg-type]


ENGINES = KnownEngines(
    {
        "e": engine("embedder", embed=0.1),
        "s": engine("store", is_profiled=False, ingest=0.01, search=0.02),
        "m": engine("llm", prefill=0.001, decode=0.05),
    }
)


def test_a_plan_says_what_each_pass_and_all_of_them_should_save() -> None:
    text = str(make_plan(GRAPH, ENGINES))

    passes, expected = (text.split(f"{title}:\n")[1].split("\n\n")[0] for title in TITLES)
    assert "prune_dependencies: 1 changed (%q.prompt); at least 2.87 s -> 2.24 s" in passes
    assert dedent(expected) == dedent("""\
        critical path 2.87 s -> 2.23 s
          before: v 28% > index 3% > q 17% > qv 3% > a.prompt 29% > a 17%
          after: v 36% > index 4% > a.prompt 37% > a 22%
        device e busy 900 ms
        device s busy 100 ms
        device m busy 1.87 s
        at least 2.23 s, bound by critical path: 361 ms more than the busiest device
        engine work 2.87 s
          e 900 ms (profiled 2026-01-02)
          s 100 ms (default)
          m 1.87 s (profiled 2026-01-02)""")


def on_one_device() -> KnownEngines:
    def moved(known: KnownEngine) -> KnownEngine:
        assert known.info is not None
        return replace(known, info=replace(known.info, device="cpu"))

    return KnownEngines({name: moved(known) for name, known in ENGINES.engines.items()})


def test_a_pass_that_moves_work_about_on_one_busy_device_gains_nothing() -> None:
    plan = make_plan(GRAPH, on_one_device())
    passes, expected = (str(plan).split(f"{title}:\n")[1].split("\n\n")[0] for title in TITLES)
    assert plan.expected_after.path_s < plan.expected_before.path_s
    assert "at least" not in passes
    assert "device cpu busy 2.87 s" in expected
    assert "at least 2.87 s, bound by cpu: 627 ms more than the critical path" in expected


def test_a_plan_gives_advice_on_prompts() -> None:
    (advice,) = make_plan(GRAPH, ENGINES).advice

    assert advice.node == "a.prompt"
    assert "advice:\n  %a.prompt: move %text behind what follows it" in str(make_plan(GRAPH))


def test_corrections_show_where_numbers_come_from() -> None:
    known = KnownEngines({**ENGINES.engines, "e": engine("embedder", embed=0.1)})
    cost = known.cost(GRAPH)
    for _ in range(100):
        known.engines["e"].latency.observe(cost.loads(GRAPH.node("qv")), 0.2)

    assert "(profiled 2026-01-02, corrected embed x2.00)" in str(make_plan(GRAPH, known))


def test_without_any_engine_known_a_plan_works_with_defaults() -> None:
    plan = make_plan(GRAPH)

    assert 0 < plan.expected_after.path_s < plan.expected_before.path_s
    assert "(default)" in str(plan)


def test_passes_get_costs_only_where_something_was_profiled() -> None:
    nothing = KnownEngines({"m": KnownEngine(EngineSpec("llm", "fake:"))})

    assert nothing.facts(GRAPH).cost is None
    assert ENGINES.facts(GRAPH).cost is not None
    assert ENGINES.facts(GRAPH).capabilities["m"] == {"prefill", "fork"}
