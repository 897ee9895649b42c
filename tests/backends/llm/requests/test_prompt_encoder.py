"""A model's prompts without its weights."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.base import Turn
from backends.errors import EngineUnavailable, RequestTooLong
from backends.llm.loader import load_core
from backends.llm.options import LLMOptions
from backends.llm.requests.prompt_encoder import open_prompts

CHAT = [Turn("user"), "Say <|im_end|> twice.", Turn("assistant")]


def test_prompts_are_opened_without_torch() -> None:
    code = "import sys, backends.llm.requests.prompt_encoder; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["", "tokenizer.json"])
def test_a_folder_or_its_tokenizer_gives_the_ids_of_the_whole_model(
    tiny_folder: Callable[..., Path], name: str
) -> None:
    core = load_core(tiny_folder(), LLMOptions(kv_tokens=512))
    prompts = open_prompts(tiny_folder() / name)
    assert prompts.encode(CHAT, (), None)[0] == core.encode(CHAT)
    assert prompts.stop_ids == {258}


def test_parts_in_two_calls_have_the_ids_of_one(tiny_folder: Callable[..., Path]) -> None:
    prompts = open_prompts(tiny_folder())
    first, turn = prompts.encode_more(CHAT[:2], None, is_start=True)
    rest, turn = prompts.encode_more(CHAT[2:], turn, is_start=False)
    assert (first + rest, turn) == prompts.encode(CHAT, (), None)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no tokenizer at"):
        open_prompts(tmp_path / "nothing")
    with pytest.raises(EngineUnavailable, match=r"has no tokenizer\.json"):
        open_prompts(tmp_path)


def test_of_a_text_that_is_too_long_only_the_beginning_is_tokenised(
    tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = open_prompts(tiny_folder())
    sizes: list[int] = []
    encode = prompts.tokenizer.encode_text

    def counted(text: str) -> list[int]:
        sizes.append(len(text))
        return encode(text)

    monkeypatch.setattr(prompts.tokenizer, "encode_text", counted)
    monkeypatch.setattr(prompts.tokenizer, "longest_token_bytes", 1000)
    with pytest.raises(RequestTooLong, match="the first .* of 50000 characters"):
        prompts.check_length(["word " * 10_000], 100, None)
    assert len(sizes) == 1
    assert sizes[0] < 5000
    prompts.check_length(["word " * 900], 1000, None)  # may fit
    prompts.check_length(["a" * 50_000], 100, None)  # no place where a beginning surely ends
    assert len(sizes) == 1
