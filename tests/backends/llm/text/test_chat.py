"""Markup between turns equals what the model's own Jinja template renders."""

from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.base import Part, Turn
from backends.errors import ConfigError, RequestRejected
from backends.llm.text.chat import ChatTemplate

DATA = Path(__file__).parents[3] / "data"
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + "
    "m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
CONVERSATIONS = [
    [("system", "Be brief."), ("user", "Hello, who are you?")],
    [("user", "Hello!")],
    [("user", "What is 2 + 2?"), ("assistant", "It is 4."), ("user", "And 3 + 3?")],
    [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c")],
    [("user", "a"), ("user", "b")],
]


def source(name: str) -> str:
    inline = {"smollm2-inline": SMOLLM2, "llama3": LLAMA3, "mistral": MISTRAL}
    if name in inline:
        return inline[name]
    return (DATA / f"{name}_chat_template.jinja").read_text(encoding="utf-8")


def rendered(template: str, turns: list[tuple[str, str]], generate: bool = True) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": role, "content": content} for role, content in turns]
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=generate, bos_token="<s>", eos_token="</s>"
    )


def joined(template: ChatTemplate, parts: list[Part]) -> str:
    text, turn = "", None
    for part in parts:
        if isinstance(part, Turn):
            text += template.markup(turn, part.role)
            turn = part.role
        else:
            text += part
    return text


def as_parts(turns: list[tuple[str, str]]) -> list[Part]:
    parts: list[Part] = []
    for role, content in turns:
        parts += [Turn(role), content]  # type: ignore[arg-type]
    return [*parts, Turn("assistant")]


@pytest.mark.parametrize("turns", CONVERSATIONS, ids=range(len(CONVERSATIONS)))
@pytest.mark.parametrize("name", ["smollm2-inline", "smollm2", "qwen2.5", "llama3"])
def test_joined_markup_and_text_equal_the_rendered_template(
    name: str, turns: list[tuple[str, str]]
) -> None:
    template = ChatTemplate(source(name), bos="<s>", eos="</s>")
    assert joined(template, as_parts(turns)) == rendered(source(name), turns)


def test_the_default_system_turn_is_written_only_before_a_first_user_turn() -> None:
    template = ChatTemplate(SMOLLM2)
    assert "named SmolLM" in template.markup(None, "user")
    assert "named SmolLM" not in template.markup(None, "system")
    assert "named SmolLM" not in template.markup("assistant", "user")


def test_a_template_with_alternating_roles_refuses_the_others() -> None:
    template = ChatTemplate(MISTRAL, bos="<s>", eos="</s>")
    turns = CONVERSATIONS[2]
    assert joined(template, as_parts(turns)) == rendered(MISTRAL, turns)
    with pytest.raises(RequestRejected, match="takes no system turn at the start"):
        template.markup(None, "system")
    with pytest.raises(RequestRejected, match="takes no user turn after a user turn"):
        template.markup("user", "user")


def test_without_a_template_turns_add_nothing() -> None:
    assert joined(ChatTemplate(None), [Turn("user"), "plain", Turn("assistant")]) == "plain"


def test_a_template_that_does_not_parse_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        ChatTemplate("{% for %}")


def test_a_template_cannot_reach_out_of_its_sandbox() -> None:
    with pytest.raises(ConfigError):
        ChatTemplate("{{ ''.__class__.__mro__[1].__subclasses__() }}")


def test_the_turn_after_a_finished_decode_closes_the_answer_once(tiny: Any) -> None:
    driver = tiny.driver()
    question = driver.prefill(None, Turn("user"), "a", Turn("assistant"))
    for seed in range(50):  # until the random model ends its turn by itself
        attrs = {"max_tokens": 100, "temperature": 2.0, "seed": seed}
        answer = driver.decode(question, **attrs)
        if answer.finish_reason == "stop":
            break
    assert answer.finish_reason == "stop"
    text, context = answer.outputs
    next_turn = driver.prefill(context, Turn("user"), "c", Turn("assistant"))
    template = tiny.found.template
    generated = context.ids[question.num_tokens :]
    expected = tiny.tokenizer.encode_markup(rendered(template, [("user", "a")]))
    expected += generated
    end = tiny.tokenizer.encode_markup("<|im_end|>\n<|im_start|>user\nc<|im_end|>\n")
    expected += end + tiny.tokenizer.encode_markup("<|im_start|>assistant\n")
    assert next_turn.ids == expected
    assert text == tiny.tokenizer.decode(generated)


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    "endless",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ],
)
def test_a_template_without_an_end_is_refused_in_bounded_time(endless: str) -> None:
    template = ChatTemplate(f"{{% if tools %}}{endless}{{% endif %}}{SMOLLM2}")
    with pytest.raises(TemplateError, match="without an end|does it end"):
        template.render([{"role": "user", "content": "a"}], [{}], opens=True)
    with pytest.raises(ConfigError, match="does not write a user turn"):
        ChatTemplate(endless)


def test_a_loop_knows_its_length_and_neighbours_as_without_bounds() -> None:
    loops = (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}"
        "{{ loop.nextitem.role if loop.nextitem else '-' }}{{ m.content }}{% endfor %}"
        "{% for m in [] %}{% else %}none{% endfor %}"
        "{% for k, v in {'b': 1, 'a': 2} | dictsort if v %}{{ k }}{% endfor %}"
    )
    template = ChatTemplate(SMOLLM2 + "{% if tools %}" + loops + "{% endif %}")
    turns = [("user", "a"), ("assistant", "b")]
    messages = [{"role": role, "content": text} for role, text in turns]
    expected = rendered(SMOLLM2 + loops, turns, generate=False)
    assert template.render(messages, [{}], opens=False) == expected
