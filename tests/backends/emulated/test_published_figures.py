"""The roofline against figures that others published: `benchmarks/published_figures.py`."""

from itertools import groupby
from math import exp, log
from statistics import mean

import pytest

from benchmarks.published_figures import FIGURES, Figure

# The mean ratio of ours to theirs by device and model, and the farthest of one figure.
EXPECTED = {
    ("a100-40gb", "llama-3.1-8b"): (1.03, 1.1),
    ("a100", "llama-2-7b"): (0.95, 1.2),
    ("a100x4", "llama-2-70b"): (1.03, 1.1),
    ("l40s", "llama-2-7b"): (1.02, 1.25),
    ("h100", "llama-2-7b"): (0.93, 1.6),
    ("h100", "llama-3.1-8b"): (1.02, 1.2),
    ("h200", "llama-3.1-8b"): (1.06, 1.25),
    ("h200", "llama-3.1-70b"): (1.18, 1.35),
    ("h100x2", "llama-3.1-70b"): (1.22, 1.35),
}


def place(figure: Figure) -> tuple[str, str]:
    return figure.device, figure.model


BY_PLACE = {key: list(of) for key, of in groupby(sorted(FIGURES, key=place), key=place)}


@pytest.mark.parametrize(
    ("key", "figures"),
    BY_PLACE.items(),
    ids=lambda x: "/".join(map(str, x)) if isinstance(x, tuple) else "",
)
def test_predictions_are_as_far_from_published_figures_as_is_told(
    key: tuple[str, str], figures: list[Figure]
) -> None:
    typical, farthest = EXPECTED[key]
    ratios = [figure.ratio for figure in figures]
    assert exp(mean(map(log, ratios))) == pytest.approx(typical, abs=0.03)
    for figure, ratio in zip(figures, ratios, strict=True):
        assert 1 / farthest < ratio < farthest, figure


def test_every_figure_names_its_source() -> None:
    assert all(figure.source for figure in FIGURES)
    assert len(BY_PLACE) >= 3
