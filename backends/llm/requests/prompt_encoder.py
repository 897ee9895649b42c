"""Parts of a prompt to token ids, one part at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.base import Marked, Part, Role, Tokens, Turn
from backends.errors import EngineUnavailable, RequestTooLong
from backends.llm.model.gguf_file import GGUFFile
from backends.llm.requests.open_turn import Open, ToolTurns
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.plain_markup import PlainMarkup
from backends.llm.text.tokenizer import Tokenizer
from backends.llm.text.tokenizer_files import read_json, tokenizer_from_folder, tokenizer_from_gguf
from backends.llm.text.tool_template import ToolTemplates
from backends.models.model_files import reading
from backends.tool_calls.format import CallFormat, Markup
from backends.tool_calls.tools import Toolset
from backends.tool_calls.turn import ToolTurn, read_turn

_BEGINNING_CHARS = 8  # of a text, for each token of room: twice the tokens of most languages
_SPARE = 4096  # characters in which a blank is looked for
_UNSURE_TOKENS = 64
_JSON_BYTES = 8  # of a canonical turn, that may stand for one byte of the text: \u0041


class PromptEncoder:
    """A part's ids depend on the part, the open turn and whether anything came before: never on
    how a prompt is cut into calls."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self.tokenizer = tokenizer
        self._template = template
        self._tools = ToolTemplates(tokenizer, template)
        self._plain_markup = PlainMarkup(tokenizer, template.markup_texts)
        closing = tokenizer.encode_markup(template.end_of_turn)[:1]
        ends = [i for i in closing if i in tokenizer.special_ids]
        self.stop_ids = frozenset((*tokenizer.eos_ids, *ends))

    def format_of(self, tools: Toolset) -> CallFormat:
        """How the model writes calls of these tools. Raises RequestRejected."""
        return self._tools.of(tools).format

    def check_length(self, parts: Sequence[Part], most_tokens: int, turn: Open) -> None:
        """Raises RequestTooLong, before anything is tokenised, for more text than so many tokens
        can stand for; and for a long text whose beginning alone has too many."""
        num_bytes = sum(_num_bytes(part) for part in parts if isinstance(part, str))
        if isinstance(turn, ToolTurns):
            num_bytes //= _JSON_BYTES
        longest = self.tokenizer.longest_token_bytes
        room = most_tokens - sum(len(part.ids) for part in parts if isinstance(part, Tokens))
        if num_bytes > max(0, room) * longest:
            raise RequestTooLong(
                f"the prompt's texts have {num_bytes} bytes; {max(0, room)} tokens, which the "
                f"context takes, stand for {longest} bytes each at most: shorten the prompt"
            )
        if not isinstance(turn, ToolTurns):
            for part in parts:
                self._check_beginning(part, max(0, room))

    def _check_beginning(self, part: Part, room: int) -> None:
        num_chars = _BEGINNING_CHARS * room + _SPARE
        if not isinstance(part, str) or len(part) < 2 * num_chars:
            return
        end = part.rfind(" ", num_chars - _SPARE, num_chars)
        if end > 0 and part[end - 1] != " ":  # a blank behind a word: no later text changes these
            num_tokens = len(self.tokenizer.encode_text(part[:end]))
            if num_tokens > room + _UNSURE_TOKENS:
                raise RequestTooLong(
                    f"the first {end} of {len(part)} characters of a text have {num_tokens} "
                    f"tokens; the context takes {room}: shorten the prompt"
                )

    def encode(
        self, parts: Sequence[Part], ids: Sequence[int], turn: Open
    ) -> tuple[list[int], Open]:
        """All ids, `ids` first, and the turn that is open after them. Raises RequestRejected."""
        new, turn = self.encode_more(parts, turn, is_start=not ids)
        return [*ids, *new], turn

    def encode_more(
        self, parts: Sequence[Part], turn: Open, *, is_start: bool
    ) -> tuple[list[int], Open]:
        """The ids of `parts` alone, which `is_start` says begin a sequence, and the turn that is
        open after them. Raises RequestRejected."""
        out: list[int] = []
        for part in parts:
            if isinstance(part, Turn):
                markup, turn = self._opened(turn, part.role)
                out += self.tokenizer.encode_markup(markup)
            elif isinstance(part, Tokens):
                out += part.ids
            elif isinstance(part, Marked):
                out += self._marked(part, is_start=is_start and not out)
            elif part:
                ids, turn = self._written(part, turn)
                out += ids if out or not is_start else [*self.start_ids, *ids]
        return out, turn

    @property
    def info(self) -> dict[str, str | int | None]:
        """What clients may want to know, under the names of a tokenizer's settings."""
        eos = self.tokenizer.eos_ids[:1]
        bos = self.tokenizer.bos_id
        return {
            "bos_token": None if bos is None else self.tokenizer.token(bos),
            "eos_token": self.tokenizer.token(eos[0]) if eos else None,
            "chat_template": self._template.source,
            "vocab_size": self.tokenizer.vocab_size,
        }

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What a text has before it that begins a sequence."""
        bos = self.tokenizer.bos_id
        return (bos,) if self.tokenizer.add_bos and bos is not None else ()

    def _opened(self, turn: Open, role: Role) -> tuple[str, Open]:
        """The markup that leaves a turn and opens the next."""
        if not isinstance(turn, ToolTurns):
            return self._template.markup(turn, role), role
        after = turn.entered(role)
        leaving, entering = turn.call(turn.num_answered - 1), turn.call(after.num_answered - 1)
        return self._tools.of(turn.tools).markup(turn.role, role, leaving, entering), after

    def _written(self, text: str, turn: Open) -> tuple[list[int], Open]:
        """The ids of a text inside a turn."""
        if isinstance(turn, ToolTurns) and turn.role == "tool":
            text = self._tools.of(turn.tools).answer(text)
        said = read_turn(text) if isinstance(turn, ToolTurns) else None
        if said is None or not isinstance(turn, ToolTurns) or turn.role != "assistant":
            return self._plain_markup.encode_text(text), turn
        return self._said(said, self.format_of(turn.tools)), turn.called(said.calls)

    def _said(self, turn: ToolTurn, form: CallFormat) -> list[int]:
        """The ids of an assistant turn as its model writes it."""
        encoded = (
            self.tokenizer.encode_markup(piece.text)
            if isinstance(piece, Markup)
            else self._plain_markup.encode_text(piece)
            for piece in form.written(turn)
        )
        return [token for ids in encoded for token in ids]

    def _marked(self, text: str, *, is_start: bool) -> list[int]:
        """The start of a sequence may be written in the text itself."""
        ids = self.tokenizer.encode_markup(text)
        start = [*self.start_ids] if is_start and text else []
        return ids if ids[:1] == start else start + ids


def open_prompts(path: Path) -> PromptEncoder:
    """Of a GGUF file, a Hugging Face folder or its tokenizer.json. Raises ConfigError and
    EngineUnavailable."""
    folder = path.parent if path.name == "tokenizer.json" else path
    with reading(path):
        if folder.is_dir():
            return prompts_of(tokenizer_from_folder(folder), folder_template(folder))
        if path.is_file():
            metadata = GGUFFile(path).metadata
            template = metadata.get("tokenizer.chat_template")
            return prompts_of(tokenizer_from_gguf(metadata), template)
    raise EngineUnavailable(f"no tokenizer at {path}: give a folder, a .gguf or a tokenizer.json")


def prompts_of(tokenizer: Tokenizer, template: str | None) -> PromptEncoder:
    """The encoder of a model's prompts. Raises ConfigError for a template that cannot be read."""
    bos, eos = (
        tokenizer.token(tokenizer.bos_id),
        tokenizer.token(next(iter(tokenizer.eos_ids), None)),
    )
    return PromptEncoder(tokenizer, ChatTemplate(template, bos=bos, eos=eos))


def folder_template(folder: Path) -> str | None:
    """The chat template of a Hugging Face folder, if it has one."""
    separate = folder / "chat_template.jinja"
    if separate.exists():
        return separate.read_text(encoding="utf-8")
    template: Any = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
