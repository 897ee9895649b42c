from graph_text import graph

from graph_opt.paths import bodies_of, walk
from graph_opt.text import parse

G = graph(
    """
    %q = input [type="str"]
    %m = map %q {
      %x = input [type="str"]
      %c = cond %x %x {
        %y = input [type="str"]
        return %y
      } else {
        %z = input [type="str"]
        return %z
      }
      return %c
    }
    return %m
    """
)


def test_paths_name_the_bodies_on_the_way() -> None:
    assert [path for path, _, _ in walk(G)] == [
        "q",
        "m",
        "m[].x",
        "m[].c",
        "m[].c{then}.y",
        "m[].c{else}.z",
    ]


def test_the_bodies_of_a_node_come_with_the_start_of_their_paths() -> None:
    body = G.node("m").bodies[0]
    assert [path for path, _ in bodies_of(body.node("c"), "m[2].")] == [
        "m[2].c{then}.",
        "m[2].c{else}.",
    ]


def test_bodies_of_which_there_may_be_many_are_named_by_their_numbers() -> None:
    body = '{\n%y = input [type="str"]\nreturn %y\n}'
    race = graph(
        f'%q = input [type="str"]\n%f = first null %q {body} else {body} else {body}\nreturn'
    )
    assert [path for path, _ in bodies_of(race.node("f"))] == ["f{0}.", "f{1}.", "f{2}."]
    assert str(parse(str(race))) == str(race)
