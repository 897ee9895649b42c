"""What of a branch may run before the branch is chosen."""

from graph_opt.analysis.early_part import early_part
from graph_opt.text import parse


def early(lines: str) -> tuple[str, ...] | None:
    part = early_part(
        parse(f"graph g {{\n  %x = input [type='str']\n{lines}\n}}".replace("'", '"'))
    )
    return None if part is None else part.outputs


def test_what_touches_nothing_runs_early_up_to_the_first_effect() -> None:
    found = early("""\
  %c0 = context [engine='m']
  %t, %c = decode %c0 %x [engine='m']
  %s = call %t [engine='p', fn='send']
  %u, %d = decode %c %s [engine='m']
  return %u""")
    assert found == ("t", "c")


def test_what_stands_behind_an_effect_by_control_waits_too() -> None:
    found = early("""\
  %s = call %x [engine='p', fn='send']
  %c0 = context [engine='m']
  %t, %c = decode %c0 %x [engine='m'] after %s
  return %t""")
    assert found is None


def test_pure_functions_run_early_and_those_that_read_the_world_do_not() -> None:
    found = early("""\
  %a = call %x [engine='p', fn='f', pure=true]
  %b = call %a [engine='p', fn='g', pure=true, reads=true]
  %c = call %b [engine='p', fn='f', pure=true]
  return %c""")
    assert found == ("a",)


def test_it_has_the_parameters_that_it_reads() -> None:
    part = early_part(
        parse("""graph g {
  %x = input [type="str"]
  %late = input [type="str"]
  %a = call %x [engine="p", fn="f", pure=true]
  %s = call %a %late [engine="p", fn="send"]
  return %s
}""")
    )
    assert part is not None
    assert [param.name for param in part.params] == ["x"]


def test_a_branch_without_engines_has_no_early_part() -> None:
    assert early("  %a = join %x\n  return %a") is None
