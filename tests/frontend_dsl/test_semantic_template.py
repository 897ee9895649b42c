"""Templates of semantic functions as steps."""

import pytest

from frontend_dsl.semantic_template import Hole, Step, Template, parse_template


def test_a_template_is_a_step_for_each_output() -> None:
    text = "Joke about {{input:topic}}: {{output:joke}} Why? {{ output : reason }}"
    assert parse_template(text) == Template(
        (
            Step(("Joke about ", Hole("topic"), ":"), "joke"),
            Step((" Why?",), "reason"),
        ),
        ("topic",),
    )


def test_a_bare_name_is_an_input_unless_it_is_known_as_an_output() -> None:
    assert parse_template("{{a}} {{output:b}}").inputs == ("a",)
    template = parse_template("{{a}} {{b}}", outputs=["b"])
    assert template.inputs == ("a",)
    assert template.outputs == ("b",)


def test_what_was_written_can_be_read_later() -> None:
    template = parse_template("{{x}} {{output:a}} Again: {{a}} {{output:b}}", outputs=["a"])
    assert template.inputs == ("x",)
    assert template.steps[1].reads == (" Again: ", Hole("a"))


def test_text_between_braces_of_json_is_text() -> None:
    template = parse_template('Like {"a": {"b": 1}}: {{output:json}}')
    assert template.steps[0].reads == ('Like {"a": {"b": 1}}:',)


def test_a_point_behind_the_last_output_is_left_out() -> None:
    assert parse_template("Say {{output:word}}.\n").outputs == ("word",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Say {{something}}", "no output"),
        ("{{my topic}} {{output:x}}", r"\{\{my topic\}\} is no placeholder: write"),
        ("{{output:x}} and {{output:x}}", "writes 'x' twice"),
        ("{{input:x}} then {{output:x}}", "reads 'x' before it writes it"),
        ("Say {{output:x}} and stop", "behind the last output, 'x', is never read"),
    ],
)
def test_a_template_that_cannot_be_filled_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_template(text)
