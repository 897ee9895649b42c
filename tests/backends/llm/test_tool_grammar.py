"""What the grammars of the formats let a model write, with tags of text and with special tokens."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from backends.base import ToolCall
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.requests.sampling import sampling_from
from backends.llm.sample.grammar import Grammars
from backends.llm.sequence.tool_decoding import ToolDecoding
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.tokenizer import Tokenizer
from backends.tool_calls.format import CallFormat, Markup
from backends.tool_calls.formats import FORMATS
from backends.tool_calls.stream import TurnStream
from backends.tool_calls.tools import Toolset, read_tools
from backends.tool_calls.turn import ToolTurn

TOOLS = read_tools(
    [
        {
            "name": "find",
            "parameters": {
                "type": "object",
                "properties": {"q": {"$ref": "#/$defs/Q"}},
                "required": ["q"],
                "$defs": {"Q": {"enum": ["tea", "cup"]}},
            },
        },
        {"name": "stop"},
    ]
)
FIND, STOP = ToolCall("aaaaaaaaa", "find", '{"q": "tea"}'), ToolCall("bbbbbbbbb", "stop", "{}")
BAD = ToolCall("aaaaaaaaa", "find", '{"q": "beer"}')
UNKNOWN = ToolCall("aaaaaaaaa", "send", "{}")


def tokenizer(folder: Path, markers: tuple[str, ...]) -> Tokenizer:
    rust = RustTokenizer.from_file(str(folder / "tokenizer.json"))
    rust.add_special_tokens([AddedToken(marker, special=True) for marker in markers])
    return Tokenizer(rust, eos_ids=(258,))


class Case:
    """One format on one vocabulary."""

    def __init__(self, folder: Path, form: CallFormat, is_special: bool) -> None:
        self.form = form
        self.tokenizer = tokenizer(folder, form.markers if is_special else ())
        self.prompts = PromptEncoder(self.tokenizer, ChatTemplate(None))
        self.grammars = Grammars(self.tokenizer, self.tokenizer.vocab_size, (258,))

    def ids(self, turn: ToolTurn) -> list[int]:
        return self.prompts._said(turn, self.form)

    def accepts(self, turn: ToolTurn | str, choice: str = "auto", **attrs: Any) -> bool:
        """Whether a model that is held to the grammar may write the turn and end."""
        decoding = ToolDecoding(self.tokenizer, Toolset(TOOLS, choice), self.form)
        source = decoding.grammar(sampling_from(attrs))
        assert source is not None
        native = self.grammars.matcher(source).native
        ids = self.tokenizer.encode_text(turn) if isinstance(turn, str) else self.ids(turn)
        return native.try_consume_tokens(ids) == len(ids) and bool(native.is_accepting())


@pytest.fixture(params=[False, True], ids=["text", "special"])
def is_special(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=FORMATS, ids=lambda form: form.name)
def case(request: pytest.FixtureRequest, tiny_tokenizer: Path, is_special: bool) -> Case:
    return Case(tiny_tokenizer, request.param, is_special)


def test_free_text_and_calls_that_fit_are_allowed_and_other_calls_are_not(case: Case) -> None:
    assert case.accepts("Hello {world}.\n[1] <b>")
    assert case.accepts(ToolTurn("", (FIND,)))
    assert case.accepts(ToolTurn("", (STOP,)))
    assert not case.accepts(ToolTurn("", (BAD,)))
    assert not case.accepts(ToolTurn("", (UNKNOWN,)))
    if case.form.name != "llama":  # its templates take one call a turn
        assert case.accepts(ToolTurn("", (FIND, STOP)))


def test_text_may_stand_before_calls_where_a_tag_opens_them(case: Case, is_special: bool) -> None:
    if case.form.name == "hermes" or (is_special and case.form.name.startswith("mistral")):
        assert case.accepts(ToolTurn("So.", (FIND,)))


def test_a_required_call_comes_at_once_and_a_named_tool_is_called_once(case: Case) -> None:
    assert case.accepts(ToolTurn("", (FIND,)), "required")
    assert not case.accepts("Hello.", "required")
    assert case.accepts(ToolTurn("", (STOP,)), "stop")
    assert not case.accepts(ToolTurn("", (FIND,)), "stop")
    assert not case.accepts(ToolTurn("", (STOP, STOP)), "stop")


def test_content_may_have_a_form_of_its_own(case: Case) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    for attrs, good, bad in (
        ({"schema": schema}, '{"ok": true}', "yes"),
        ({"choices": ["yes", "no"]}, "no", "perhaps"),
        ({"regex": "[a-c]+/d"}, "ab/d", "x"),
    ):
        assert case.accepts(good, **attrs)
        assert not case.accepts(bad, **attrs)
        assert case.accepts(ToolTurn("", (FIND,)), **attrs)


def test_what_the_model_writes_is_read_from_its_tokens(case: Case) -> None:
    decoding = ToolDecoding(case.tokenizer, Toolset(TOOLS), case.form)
    detokenizer, stream = decoding.detokenizer(), TurnStream(case.form.parser())
    for token in case.ids(ToolTurn("", (FIND,))):
        stream.feed(detokenizer.push(token))
    stream.feed(detokenizer.flush())
    stream.finish()
    (call,) = stream.calls
    assert (call.name, call.arguments) == (FIND.name, FIND.arguments)


def test_llama_may_write_its_tag_before_a_call(tiny_tokenizer: Path) -> None:
    case = Case(tiny_tokenizer, FORMATS[1], is_special=True)
    tagged = [Markup("<|python_tag|>"), '{"name": "stop", "parameters": {}}']
    ids = [
        token
        for piece in tagged
        for token in (
            case.tokenizer.encode_markup(piece.text)
            if isinstance(piece, Markup)
            else case.tokenizer.encode_text(piece)
        )
    ]
    source = ToolDecoding(case.tokenizer, Toolset(TOOLS), case.form).grammar(sampling_from({}))
    assert source is not None
    assert case.grammars.matcher(source).native.try_consume_tokens(ids) == len(ids)


def test_a_turn_has_sixteen_calls_at_most(case: Case) -> None:
    if case.form.name != "llama":  # its templates take one call a turn
        assert case.accepts(ToolTurn("", (STOP,) * 16))
        assert not case.accepts(ToolTurn("", (STOP,) * 17))


def test_a_turn_without_an_end_is_held_to_nothing_unless_a_call_is_required(case: Case) -> None:
    endless = sampling_from({"ignore_eos": True})
    auto, required = (
        ToolDecoding(case.tokenizer, Toolset(TOOLS, choice), case.form).grammar(endless)
        for choice in ("auto", "required")
    )
    assert auto is None
    assert required is not None
