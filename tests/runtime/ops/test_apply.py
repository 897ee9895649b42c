"""Python's own functions as an inline op."""

import pytest

from graph_opt.graph import Node, Ref
from graph_opt.ops import APPLIED
from runtime.cost.sizes import Size, list_of
from runtime.ops.apply import APPLY, FUNCTIONS


def test_every_function_that_a_graph_may_name_is_there() -> None:
    assert tuple(FUNCTIONS) == APPLIED


TEN = list_of(10.0, Size(4.0))
SIZES = [
    ({"fn": "slice", "stop": 3}, [TEN], 3.0, 4.0),
    ({"fn": "slice", "start": 8}, [TEN], 2.0, 4.0),
    ({"fn": "slice", "start": 5, "stop": 20}, [TEN], 5.0, 4.0),
    ({"fn": "slice", "start": -3}, [TEN], 10.0, 4.0),
    ({"fn": "zip"}, [TEN, list_of(2.0, Size(1.0))], 2.0, 5.0),
    ({"fn": "sort"}, [TEN, TEN], 10.0, 4.0),
]


@pytest.mark.parametrize(("attrs", "args", "items", "tokens"), SIZES)
def test_the_size_of_a_list_follows_from_those_it_is_made_of(
    attrs: dict[str, int], args: list[Size], items: float, tokens: float
) -> None:
    node = Node(("a",), "apply", tuple(Ref(f"x{i}") for i in range(len(args))), attrs)
    (size,) = APPLY.size(node, args)
    assert size.items == items
    assert size.item is not None
    assert size.item.total == tokens
