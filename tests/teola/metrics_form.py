"""What Prometheus asks of a page of metrics, beside that it can be read."""

import math
import re
from collections.abc import Iterable
from itertools import pairwise

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

LABELS = {"path", "status", "reason", "app", "engine"}  # each of few values
_NAME = re.compile(r"teola_[a-z0-9]+(_[a-z0-9]+)*")
_UNITS = ("seconds", "bytes")
_NO_BASE_UNITS = re.compile(r"_(ms|us|ns|milliseconds|kb|mb|kilobytes|percent)(_|$)")


def families_of(page: str) -> dict[str, Metric]:
    """By name, as Prometheus' own parser reads them; when series began is left out."""
    found = {family.name: family for family in text_string_to_metric_families(page)}
    return {name: family for name, family in found.items() if not name.endswith("_created")}


def series_of(page: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Names with labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families_of(page).values()
        for sample in family.samples
    }


def names_on(page: str) -> set[str]:
    """Of families, of counters as they are asked for."""
    families = families_of(page).values()
    counters = {f"{family.name}_total" for family in families if family.type == "counter"}
    return counters | {family.name for family in families if family.type != "counter"}


def check_form(page: str) -> None:
    """Names, units, types, labels and buckets."""
    names = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names)), "a family is told twice"
    for family in families_of(page).values():
        name = family.name
        assert _NAME.fullmatch(name), name
        assert family.documentation.strip(), f"{name} says nothing of itself"
        assert not _NO_BASE_UNITS.search(name), f"{name} is in no base unit"
        for unit in _UNITS:
            assert unit not in name.split("_")[:-1], f"{name}: a unit ends a name"
        assert family.type in ("counter", "gauge", "histogram"), name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= LABELS, (name, sample.labels)
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{name}_total"}
            assert all(sample.value >= 0 for sample in family.samples)
        elif family.type == "gauge":
            assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        else:
            assert name.endswith("_seconds"), name
            check_histogram(family)


def check_histogram(family: Metric) -> None:
    """Buckets that grow, cover milliseconds to a minute or more of what is slow, and count all."""
    for labels in {_labels_of(sample.labels) for sample in family.samples}:
        own = [sample for sample in family.samples if _labels_of(sample.labels) == labels]
        buckets = [
            (float(sample.labels["le"]), sample.value) for sample in own if "le" in sample.labels
        ]
        ends = [end for end, _ in buckets]
        assert ends == sorted(set(ends))
        assert ends[-1] == math.inf
        assert 8 <= len(ends) <= 20, f"{family.name} has {len(ends)} buckets"
        assert ends[0] <= 0.01
        assert ends[-2] >= 2
        assert max(b / a for a, b in pairwise(ends[:-1])) <= 6
        counts = [count for _, count in buckets]
        assert counts == sorted(counts)
        (count,) = (sample.value for sample in own if sample.name.endswith("_count"))
        assert counts[-1] == count


def _labels_of(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name != "le"))


def names_in(texts: Iterable[str]) -> set[str]:
    """Names of metrics that texts speak of."""
    return {name for text in texts for name in re.findall(r"\bteola_[a-z0-9_]+", text)}
