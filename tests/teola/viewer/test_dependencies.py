from viewer_query import GRAPH, demo

from graph_opt.text import parse
from teola.viewer.dependencies import dependencies


def of(graph: str, *paths: str) -> dict[str, tuple[str, ...]]:
    return dict(dependencies(parse(graph), paths))


def test_inline_primitives_and_maps_are_seen_through() -> None:
    deps = {span.node: span.deps for span in demo().spans}

    assert deps == {
        "expand.prompt": (),
        "expand": ("expand.prompt",),
        "hits[0].vector": ("expand",),
        "hits[1].vector": ("expand",),
        "hits[0].search": ("hits[0].vector",),
        "hits[1].search": ("hits[1].vector",),
        "answer.prompt": ("hits[0].search", "hits[1].search"),
        "answer": ("answer.prompt",),
    }


def test_what_follows_an_empty_map_waits_for_what_the_map_waited_for() -> None:
    deps = of(GRAPH, "expand", "answer.prompt")

    assert deps["answer.prompt"] == ("expand",)


def test_an_item_of_a_sequential_map_waits_for_the_item_before() -> None:
    graph = """
        graph g {
          %xs = input [type="list"]
          %ys = map %xs [order="sequential"] {
            %x = input [type="str"]
            %y = embed %x [engine="e"]
            return %y
          }
          return %ys
        }"""

    deps = of(graph, "ys[0].y", "ys[1].y", "ys[2].y")
    assert deps == {"ys[0].y": (), "ys[1].y": ("ys[0].y",), "ys[2].y": ("ys[1].y",)}


def test_a_control_edge_is_a_dependency() -> None:
    graph = """
        graph g {
          %a = call [engine="python", fn="f"]
          %b = call [engine="python", fn="g"] after %a
          return %b
        }"""

    assert of(graph, "a", "b")["b"] == ("a",)


def test_a_map_in_a_map_expands_twice() -> None:
    graph = """
        graph g {
          %xs = input [type="list"]
          %all = map %xs {
            %x = input [type="list"]
            %part = map %x {
              %y = input [type="str"]
              %v = embed %y [engine="e"]
              return %v
            }
            return %part
          }
          %best = rerank "q" %all [engine="r"]
          return %best
        }"""

    deps = of(graph, "all[0].part[0].v", "all[0].part[1].v", "all[2].part[0].v", "best")
    assert deps["best"] == ("all[0].part[0].v", "all[0].part[1].v", "all[2].part[0].v")


def test_a_long_sequential_map_needs_no_deep_stack() -> None:
    graph = """
        graph g {
          %xs = input [type="list"]
          %ys = map %xs [order="sequential"] {
            %x = input [type="str"]
            %y = embed %x [engine="e"]
            return %y
          }
          return %ys
        }"""

    assert len(of(graph, *(f"ys[{i}].y" for i in range(5000)))) == 5000


def test_only_what_reads_a_late_capture_waits_for_it() -> None:
    graph = """
        graph g {
          %docs = input [type="list"]
          %qs = call %docs [engine="python", fn="f"]
          %index = ingest %docs null [engine="s"]
          %m = map %qs %index {
            %q = input [type="str"]
            %i = input [type="Index"]
            %v = embed %q [engine="e"]
            %hits = search %i %q %v [engine="s"]
            return %hits
          }
          %end = rerank "q" %m [engine="r"]
          return %end
        }"""

    deps = of(graph, "qs", "index", "m[0].v", "m[0].hits", "end")
    assert deps["m[0].v"] == ("qs",)
    assert deps["m[0].hits"] == ("qs", "index", "m[0].v")
    assert of(graph, "qs", "index", "end")["end"] == ("qs", "index")
