"""The tokenizer of an emulated LLM: a real model's, without its weights, or plain bytes."""

from functools import cache
from typing import NamedTuple

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from backends.llm.loader import open_model
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.tokenizer import Tokenizer
from backends.models.fetch import resolve

BYTES = "bytes"
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Texts(NamedTuple):
    """How texts become tokens."""

    tokenizer: Tokenizer
    template: ChatTemplate


@cache
def texts_of(name: str) -> Texts:
    """A model's tokenizer and chat template; engines in this process share it. Raises ConfigError
    and EngineUnavailable."""
    if name == BYTES:
        return Texts(_byte_tokenizer(), ChatTemplate(_CHATML))
    found = open_model(resolve(name))
    tokenizer = found.tokenizer
    bos = tokenizer.token(tokenizer.bos_id)
    eos = tokenizer.token(next(iter(tokenizer.eos_ids), None))
    return Texts(tokenizer, ChatTemplate(found.template, bos=bos, eos=eos))


def _byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = RustTokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<|im_start|>", "<|im_end|>")]
    )
    return Tokenizer(rust, eos_ids=(rust.get_vocab()["<|im_end|>"],))
