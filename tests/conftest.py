"""For tests of every folder: a tiny random LLM on disk and its tokenizer; how hypothesis draws."""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# On a busy machine drawing is slow, and no fault.
settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")

SMOLLM_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@pytest.fixture
def no_collection() -> Iterator[None]:
    """For a test that meets Python's recursion limit: what earlier tests left to the garbage
    collector could not run its finalizers there, and pytest would tell that of this test."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a Hugging Face folder of a random model; `arch` is llama or qwen2."""
    made: dict[str, Path] = {}

    def make(arch: str = "llama", **changes: Any) -> Path:
        key = json.dumps((arch, changes), sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(arch)
            _save_tiny(made[key], arch, changes)
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that model's tokenizer alone: a token a byte, 258 ends a turn."""
    folder = tmp_path_factory.mktemp("tokenizer")
    _save_tokenizer(folder)
    return folder


def _save_tiny(folder: Path, arch: str, changes: dict[str, Any]) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 256 + len(SPECIALS),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "eos_token_id": 258,
        "bos_token_id": None,
    }
    prefix = {"llama": "Llama", "qwen2": "Qwen2"}[arch]
    config = getattr(transformers, f"{prefix}Config")(**{**sizes, **changes})
    model = getattr(transformers, f"{prefix}ForCausalLM")(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    _save_tokenizer(folder)


def _save_tokenizer(folder: Path) -> None:
    _byte_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "chat_template": SMOLLM_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _byte_tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    return tokenizer
