"""The table of what ops mean at run time."""

from pathlib import Path

from graph_opt.ops import OPS
from runtime.ops import base, table
from runtime.ops.table import OP_RUNS

OTHERWISE = {"choose": "select"}  # no module has a name of the standard library's
GATHERED = {"__init__", "base", "table"}


def test_the_table_covers_every_op_of_graphs_and_no_other() -> None:
    assert OP_RUNS.keys() == OPS.keys()


def test_each_op_is_a_file_of_its_own() -> None:
    files = {path.stem for path in Path(table.__file__).parent.glob("*.py")}
    assert {OTHERWISE.get(file, file) for file in files - GATHERED} == OPS.keys()


def test_what_an_engine_runs_has_no_inline_run_and_says_its_load() -> None:
    for name, op in OPS.items():
        is_engine_op = op.engine_kind is not None
        rules = OP_RUNS[name]
        assert (rules.load is not None) == is_engine_op, name
        assert (rules.run is None and rules.begin is None) == is_engine_op, name


def test_what_takes_its_lists_in_pieces_says_how() -> None:
    for name, op in OPS.items():
        if op.elementwise or op.all_elementwise:
            rules = OP_RUNS[name]
            assert rules.begin or rules.begin_streamed or rules.pieces, name


def test_what_has_bodies_says_how_large_their_results_are() -> None:
    for name, op in OPS.items():
        assert (OP_RUNS[name].size_of_bodies is not None) == bool(op.bodies or op.more_bodies), name


def test_only_a_parameter_has_no_size_rule() -> None:
    unknown = {
        name
        for name, rules in OP_RUNS.items()
        if rules.size is base.unknown_size and rules.size_of_bodies is None
    }
    assert unknown == {"input"}
