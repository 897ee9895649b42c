"""Streams of items and the pieces taken of them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime.item_streams import GrowingText, ItemStream, Pieces, in_order, whole


def test_a_slow_consumer_bounds_its_producer() -> None:
    made: list[int] = []
    behind = ItemStream()
    consumer = behind.reader()

    def begin(places: list[Any], columns: list[list[Any]]) -> None:
        made.extend(columns[0])
        for place, value in zip(places, columns[0], strict=True):
            behind.put(place, value)
        pieces.done(len(places))

    source = whole(range(100)).reader()
    pieces = Pieces([source], 2, 8, begin, behind.close, behind)
    pieces.pump()
    assert len(made) == 8
    consumer.take(4)
    assert len(made) == 12
    while consumer.take(10):
        pass
    assert made == list(range(100))
    assert behind.is_closed


def test_the_slowest_of_several_readers_bounds_the_producer_and_no_one_once_bounds_are_lifted() -> (
    None
):
    stream = ItemStream()
    told: list[int] = []
    stream.when_taken(lambda: told.append(stream.backlog))
    fast, slow = stream.reader(), stream.reader()
    stream.put_all([((i,), i) for i in range(5)])
    fast.take(5)
    assert stream.backlog == 5
    slow.take(2)
    assert stream.backlog == 3
    stream.lift_bounds()
    assert (stream.backlog, told) == (0, [5, 3, 0])


def test_the_text_of_the_end_counts_whatever_pieces_came_before() -> None:
    text = GrowingText()
    seen: list[tuple[str, bool]] = []
    text.when_grown(lambda: seen.append((text.text, text.is_closed)))
    text.grow("one t")
    text.close("one two")
    assert seen == [("one t", False), ("one two", True)]


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=6), st.randoms(use_true_random=False))
def test_places_restore_the_order_of_nested_items(lists: list[list[int]], random: Any) -> None:
    items = [((i, j), value) for i, inner in enumerate(lists) for j, value in enumerate(inner)]
    random.shuffle(items)
    assert in_order(items) == [value for inner in lists for value in inner]


@given(
    st.lists(st.sampled_from("ab"), max_size=30),
    st.integers(1, 5),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_two_sources_meet_item_by_item_in_any_order(
    turns: list[str], size: int, window: int, random: Any
) -> None:
    count = len(turns)
    left, right = ItemStream(), ItemStream()
    met: list[tuple[Any, Any]] = []
    finished: list[bool] = []

    def begin(places: list[Any], columns: list[list[Any]]) -> None:
        assert len(places) <= size
        met.extend(zip(*columns, strict=True))
        pieces.done(len(places))

    pieces = Pieces(
        [left.reader(), right.reader()], size, window, begin, lambda: finished.append(True)
    )
    puts = [
        (stream, (i,), (name, i))
        for i in range(count)
        for stream, name in ((left, "l"), (right, "r"))
    ]
    random.shuffle(puts)
    for stream, place, value in puts:
        stream.put(place, value)
    assert not finished
    left.close()
    right.close()
    assert finished == [True]
    assert sorted(met) == [(("l", i), ("r", i)) for i in range(count)]


def test_a_whole_list_is_numbered_as_it_is_taken_and_stays_as_it_was() -> None:
    values = ["a", "b", "c"]
    stream = whole(values)
    reader = stream.reader()
    assert reader.take(2) == [((0,), "a"), ((1,), "b")]
    values[2] = "changed"
    assert reader.take(9) == [((2,), "c")]
    assert reader.is_done
    assert list(stream.items) == [((0,), "a"), ((1,), "b"), ((2,), "c")]
