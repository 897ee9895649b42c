"""Sizes and a tokenizer for random BERTs of the tests, and a run of a whole engine."""

import asyncio
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from backends.base import Engine, Outcome, Request

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "a", "mat", "dog"]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
}


def write_tokenizer(folder: Path) -> None:
    """One token a word of WORDS."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))


def run(engine: Engine, *requests: Request) -> list[Outcome]:
    """The outcomes of one batch, from start to close."""

    async def main() -> list[Outcome]:
        await engine.start()
        try:
            return await engine.execute(requests)
        finally:
            await engine.close()

    return asyncio.run(main())
