"""What the optimizer did to an app's graph, pass by pass, for people."""

from dataclasses import dataclass

from graph_opt.analysis.critical_path import critical_path
from graph_opt.analysis.readiness import num_engine_ops
from graph_opt.graph import Graph
from graph_opt.pipeline import PassReport, explain_passes
from graph_opt.text import to_text


@dataclass(frozen=True, slots=True)
class Plan:
    """The graph as traced, each pass's report, and the graph that runs."""

    before: Graph
    after: Graph
    reports: tuple[PassReport, ...]

    def __str__(self) -> str:
        passes = "\n".join(f"  {report.summary}" for report in self.reports)
        return "\n\n".join(
            [
                f"before: {describe(self.before)}\n{to_text(self.before, origins=True)}",
                f"passes:\n{passes}",
                f"after: {describe(self.after)}\n{to_text(self.after, origins=True)}",
            ]
        )


def make_plan(graph: Graph) -> Plan:
    """Run the passes and keep what each did."""
    reports = tuple(explain_passes(graph))
    return Plan(graph, reports[-1].after if reports else graph, reports)


def describe(graph: Graph) -> str:
    """The size of a graph in engine primitives, and the longest chain of them."""
    total = sum(num_engine_ops(node) for node in graph.nodes)
    chain = longest_chain(graph)
    return f"{total} engine primitives, {chain} of them one after another"


def longest_chain(graph: Graph) -> int:
    """The engine primitives on the longest path; a map's body counts once."""
    path = critical_path(graph, lambda node: float(num_engine_ops(node)))
    return round(path.length_s)
