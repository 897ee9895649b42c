"""The rooms and their floors: a folder imports only from lower floors, and nothing in circles."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parent.parent
FLOOR = {"teola": 4, "frontend_dsl": 2, "runtime": 2, "graph_opt": 1, "backends": 1}


def modules() -> Iterator[tuple[str, Path]]:
    for folder in FLOOR:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(path: Path, *, everywhere: bool) -> Iterator[str]:
    """Our modules that a file imports: at its top level, or anywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else _top_level(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            names = [node.module or ""]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in FLOOR)


def _top_level(tree: ast.Module) -> Iterator[ast.AST]:
    for node in tree.body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            yield from ast.walk(node)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda x: str(x).split("/")[-1])
def test_a_module_imports_only_its_own_room_and_lower_floors(name: str, path: Path) -> None:
    room = name.split(".")[0]
    for imported in imports_of(path, everywhere=True):
        other = imported.split(".")[0]
        assert other == room or FLOOR[other] < FLOOR[room], f"{name} imports {imported}"


def test_there_is_no_import_circle() -> None:
    known = dict(modules())
    graph = nx.DiGraph()
    for name, path in known.items():
        for imported in imports_of(path, everywhere=False):
            target = imported
            while target not in known:
                target = target.rpartition(".")[0]
            if target != name:
                graph.add_edge(name, target)
    # `from teola import errors` inside teola/__init__ is the package naming its own module
    graph.remove_edges_from([edge for edge in graph.edges if edge[0] in FLOOR])
    assert not list(nx.simple_cycles(graph))


@pytest.mark.parametrize("name", [name for name, _ in modules()])
def test_no_module_shadows_the_standard_library(name: str) -> None:
    assert name.split(".")[-1] not in sys.stdlib_module_names


def test_no_two_folders_have_a_module_of_one_name() -> None:
    names = [name for name, _ in modules() if name.count(".") == 1]
    folders = Counter(name.split(".")[1] for name in names)
    twins = {last for last, count in folders.items() if count > 1}
    assert twins <= {"errors", "nested", "ops", "teams", "tools"}  # one thing each


def test_the_runtime_looks_ops_up_and_compares_no_op_names() -> None:
    """What an op means stands in `runtime/ops`."""
    places = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for name, path in modules()
        if name.startswith("runtime.") and not name.startswith("runtime.ops.")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare) and _compares_an_op_name(node)
    ]
    assert not places


def _compares_an_op_name(compare: ast.Compare) -> bool:
    sides = [compare.left, *compare.comparators]
    is_op = any(isinstance(side, ast.Attribute) and side.attr == "op" for side in sides)
    literals = [leaf for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)]
    return is_op and any(isinstance(leaf.value, str) for leaf in literals)


def test_packages_are_docstrings_except_the_face() -> None:
    for name, path in modules():
        if path.name == "__init__.py" and name != "teola":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) <= 1, f"{path} should hold a docstring only"
            assert not body or isinstance(body[0], ast.Expr)


def test_importing_teola_loads_neither_torch_nor_an_engine() -> None:
    heavy = (
        *("torch", "tokenizers", "numpy", "networkx", "httpx", "rich", "typer", "backends.llm"),
        *("pydantic", "asyncio", "logging", "hashlib", "sysconfig", "importlib.metadata"),
        *("graph_opt.pipeline", "backends.tools.web_search", "runtime.graph_scheduler"),
        *("frontend_dsl.chat", "frontend_dsl.synthesis", "frontend_dsl.query_expansion"),
    )
    code = f"import sys, teola; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_all_that_teola_names_is_there_and_nothing_else() -> None:
    code = """
import teola
found = {}
exec("from teola import *", found)
late = set(teola._LATE)
assert late < set(teola.__all__), late - set(teola.__all__)
assert set(teola.__all__) <= set(dir(teola))
print([name for name in teola.__all__ if name not in found], hasattr(teola, "mapp"))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[] False"
