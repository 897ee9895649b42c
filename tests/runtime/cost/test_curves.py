import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.cost.curves import Curve, Row, Surface

POINTS = st.lists(
    st.tuples(st.integers(1, 4096), st.floats(0, 100, allow_subnormal=False)), min_size=1
)


def test_between_two_points_seconds_are_linear() -> None:
    curve = Curve(((1, 0.1), (2, 0.2), (4, 0.6)))

    assert curve.seconds(3) == pytest.approx(0.4)


def test_a_measured_point_is_given_back() -> None:
    curve = Curve(((1, 0.1), (2, 0.2), (4, 0.6)))

    assert [curve.seconds(size) for size in (1, 2, 4)] == [0.1, 0.2, 0.6]


def test_beyond_the_last_point_the_line_of_the_last_two_doublings_goes_on() -> None:
    curve = Curve(((1, 0.1), (2, 0.2), (4, 0.4), (8, 0.8)))

    assert curve.seconds(16) == pytest.approx(1.6)


def test_one_point_alone_is_a_line_through_nothing() -> None:
    assert Curve(((4, 0.2),)).seconds(8) == pytest.approx(0.4)


def test_less_than_was_measured_takes_as_long_as_the_least_and_nothing_takes_no_time() -> None:
    curve = Curve(((8, 0.2), (16, 0.3)))

    assert (curve.seconds(3), curve.seconds(0)) == (0.2, 0.0)


def test_a_disturbed_point_is_pulled_down_to_what_a_larger_batch_took() -> None:
    curve = Curve.measured([(1, 0.1), (2, 0.9), (4, 0.3)])

    assert curve.points == ((1, 0.1), (2, 0.3), (4, 0.3))


def test_of_two_runs_of_one_size_the_faster_counts() -> None:
    assert Curve.measured([(2, 0.4), (2, 0.3)]).points == ((2, 0.3),)


@given(POINTS, st.floats(0, 10_000), st.floats(0, 10_000))
def test_a_larger_batch_never_takes_less(
    points: list[tuple[float, float]], one: float, other: float
) -> None:
    curve = Curve.measured(points)
    small, large = sorted((one, other))

    assert 0 <= curve.seconds(small) <= curve.seconds(large) + 1e-9


@given(st.lists(POINTS, min_size=1, max_size=4), st.integers(1, 5000), st.floats(0, 1))
def test_between_measured_lengths_a_larger_batch_never_takes_less(
    rows: list[list[tuple[float, float]]], size: int, share: float
) -> None:
    surface = Surface(tuple(Row(2.0 * n, Curve.measured(row)) for n, row in enumerate(rows)))
    length = share * surface.rows[-1].length

    assert 0 <= surface.seconds(size, length) <= surface.seconds(size + 1, length) + 1e-9


def test_lengths_are_interpolated_too() -> None:
    surface = Surface((Row(100, Curve.line(0, 0.1)), Row(300, Curve.line(0, 0.3))))

    assert surface.seconds(2, 200) == pytest.approx(0.4)
    assert surface.seconds(2, 400) == pytest.approx(0.8)
    assert surface.seconds(2, 10) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("points", "batch"),
    [
        # 2 and 4 do twice as much a second each, 8 and 16 no more
        ([(1, 1.0), (2, 1.0), (4, 1.0), (8, 2.0), (16, 4.0)], 4),
        # nothing gained from the start
        ([(1, 1.0), (2, 2.0), (4, 4.0)], 1),
        # 8% and 8% are 17%
        ([(1, 1.0), (2, 2 / 1.08), (4, 4 / 1.08**2), (8, 8.0), (16, 16.0)], 4),
        # one slow point between two good ones does not end it
        ([(1, 1.0), (2, 2.0), (4, 2.0), (8, 4.0), (16, 8.0)], 4),
    ],
)
def test_the_efficient_batch_is_the_last_that_still_gains(
    points: list[tuple[float, float]], batch: int
) -> None:
    assert Curve.measured(points).efficient_batch() == batch


@pytest.mark.parametrize("points", [[(1, 1.0)], [(1, 1.0), (2, 2.0)], [(1, 1.0), (2, 1.0)]])
def test_without_two_doublings_that_gained_nothing_the_efficient_batch_is_not_known(
    points: list[tuple[float, float]],
) -> None:
    assert Curve.measured(points).efficient_batch() is None


def test_short_items_decide_how_large_a_batch_pays() -> None:
    short = Curve.measured([(1, 1.0), (2, 1.0), (4, 1.0), (8, 2.0), (16, 4.0)])
    long = Curve.measured([(1, 4.0), (2, 8.0), (4, 16.0)])

    assert Surface((Row(100, short), Row(800, long))).efficient_batch() == 4
    assert Surface((Row(800, long),)).efficient_batch() == 1


def test_where_short_items_were_still_gaining_the_efficient_batch_is_not_known() -> None:
    gaining = Curve.measured([(1, 1.0), (2, 1.0), (4, 1.0)])
    long = Curve.measured([(1, 4.0), (2, 8.0), (4, 16.0)])

    assert Surface((Row(100, gaining), Row(800, long))).efficient_batch() is None


@pytest.mark.parametrize("points", [(), ((0, 1),), ((1, -1),), ((2, 1), (1, 2)), ((1, 2), (2, 1))])
def test_what_is_no_curve_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match=r"curve|sizes|points"):
        Curve(points)
