"""The real adapter on the real model: the tokens of PEFT, and tool calls where there were none."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.base import Turn

pytestmark = [
    pytest.mark.model,
    # PEFT asks transformers by a name that is going away.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

ADAPTER = Path(__file__).parents[3] / "data/adapters/smollm2_toolcall_lora"
NUM_NEW = 32
CITY = {"type": "string", "description": "The name of the city."}
PARAMETERS = {"type": "dict", "properties": {"city": CITY}, "required": ["city"]}
TOOL = {
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "parameters": PARAMETERS,
}
QUESTIONS = (
    "What is the weather in Oslo?",
    "Tell me how warm it is in Kyiv.",
    "Get the weather of Paris.",
)
PROMPTS = [
    (Turn("user"), f"Function: {json.dumps(TOOL)}\nQuestion: {question}", Turn("assistant"))
    for question in QUESTIONS
]


@pytest.fixture(scope="module")
def driver(smollm: Any) -> Any:
    driver = smollm.driver(kv_tokens=4096, stops=False)
    driver.core.load_adapter("toolcall", ADAPTER)
    return driver


@pytest.fixture(scope="module")
def merged(smollm_path: Path) -> Any:
    """transformers with W + scale * B @ A, by PEFT."""
    import peft
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = LlamaConfig(**load_gguf_checkpoint(str(smollm_path))["config"])
    model = LlamaForCausalLM(config).eval()
    loaded = load_gguf_checkpoint(
        str(smollm_path), return_tensors=True, model_to_load=model, torch_dtype=torch.float32
    )
    model.load_state_dict(loaded["tensors"], strict=False)
    model.tie_weights()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return peft.PeftModel.from_pretrained(model, ADAPTER)


def greedy(model: Any, ids: list[int]) -> list[int]:
    tokens = torch.tensor([ids])
    with torch.no_grad():
        out = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=NUM_NEW,
            do_sample=False,
        )
    new: list[int] = out[0, len(ids) :].tolist()
    return new


def test_mixed_with_base_rows_both_equal_peft(driver: Any, merged: Any) -> None:
    jobs = [(prompt, attrs) for prompt in PROMPTS for attrs in ({}, {"adapter": "toolcall"})]
    ids = [driver.submit("prefill", None, *prompt, **attrs) for prompt, attrs in jobs]
    contexts = [result.outputs[0] for result in driver.run(*ids)]
    results = driver.run(*(driver.submit("decode", c, max_tokens=NUM_NEW) for c in contexts))
    for (_, attrs), context, result in zip(jobs, contexts, results, strict=True):
        tokens = result.outputs[1].ids[context.num_tokens :]
        if attrs:
            assert tokens == greedy(merged, context.ids)
        else:
            with merged.disable_adapter():
                assert tokens == greedy(merged, context.ids)


def test_the_adapter_answers_with_a_tool_call_and_the_base_does_not(driver: Any) -> None:
    for prompt in PROMPTS:
        context = driver.call("prefill", None, *prompt, adapter="toolcall").outputs[0]
        answer = driver.decode(context, max_tokens=12).outputs[0]
        plain = driver.decode(driver.prefill(None, *prompt), max_tokens=12).outputs[0]
        assert answer.startswith('{"name": "get_weather"')
        assert not plain.startswith("{")
