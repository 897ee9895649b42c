"""A stand-in for sglang 0.5.23: the signatures of its Engine, and answers of the same form.

Its model always says "Hello there." and the end of turn. `sglang_0_5_23.json` was read off the
released wheel; a test holds these signatures to it.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

RECORD = json.loads(Path(__file__).with_name("sglang_0_5_23.json").read_text())
END = 256  # the id of <|im_end|>
SAYS = "Hello there."
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_tokenizer() -> Tokenizer:
    """A byte, a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    return made


def write_model(folder: Path) -> Path:
    """A folder with the tokenizer of the stand-in's model."""
    make_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": END}))
    return folder


class HTTPException(Exception):
    """As fastapi's, which the engine raises for what its server would answer with a status."""

    def __init__(self, status_code: int, detail: str) -> None:
        super().__init__(detail)
        self.status_code = status_code
        self.detail = detail


class TokenizerManager:
    """What requests go through."""

    def __init__(self, args: dict[str, Any]) -> None:
        rust = make_tokenizer()
        self.context_len = args.get("context_length") or 4096
        self.server_args = SimpleNamespace(
            resolved_dict=lambda: {
                "incremental_streaming_output": False,
                "enable_priority_scheduling": False,
                "enable_deterministic_inference": False,
                **args,
            }
        )
        self.tokenizer = SimpleNamespace(
            encode=lambda text, add_special_tokens=True: (
                rust.encode(text, add_special_tokens=add_special_tokens).ids
            )
        )
        self.running: dict[str, asyncio.Event] = {}
        self.aborted: list[str] = []

    def abort_request(self, rid: str = "", abort_all: bool = False) -> None:
        self.aborted.append(rid)
        for running, event in self.running.items():
            if running.startswith(rid):
                event.set()


class Engine:
    """`made` are all engines of a test, oldest first."""

    made: list["Engine"] = []  # noqa: RUF012 - emptied by each test
    fails_with: Exception | None = None  # raised for the next request
    hangs = False  # requests say a token and then nothing until they are aborted

    def __init__(self, **kwargs: Any) -> None:
        unknown = kwargs.keys() - set(RECORD["server_args"])
        if unknown:
            raise TypeError(f"ServerArgs got an unexpected keyword argument {min(unknown)!r}")
        assert threading.current_thread() is not threading.main_thread(), "it blocks for minutes"
        self.tokenizer_manager = TokenizerManager(kwargs)
        self._scheduler_init_result = SimpleNamespace(
            scheduler_infos=[{"max_total_num_tokens": 100_000}]
        )
        self.args = kwargs
        self.calls: list[dict[str, Any]] = []
        self.num_shutdowns = 0
        self._prompts: list[list[int]] = []
        Engine.made.append(self)

    async def async_generate(
        self,
        prompt: Any = None,
        sampling_params: Any = None,
        input_ids: Any = None,
        image_data: Any = None,
        audio_data: Any = None,
        video_data: Any = None,
        mm_hashes: Any = None,
        mm_content_hashes: Any = None,
        return_logprob: Any = False,
        logprob_start_len: Any = None,
        top_logprobs_num: Any = None,
        token_ids_logprob: Any = None,
        lora_path: Any = None,
        custom_logit_processor: Any = None,
        require_reasoning: bool = False,
        return_hidden_states: Any = False,
        return_routed_experts: bool = False,
        routed_experts_start_len: int = 0,
        stream: bool = False,
        bootstrap_host: Any = None,
        bootstrap_port: Any = None,
        bootstrap_room: Any = None,
        routed_dp_rank: Any = None,
        disagg_prefill_dp_rank: Any = None,
        kv_hints: Any = None,
        data_parallel_rank: Any = None,
        external_trace_header: Any = None,
        rid: Any = None,
        session_params: Any = None,
        priority: Any = None,
        session_id: Any = None,
        *,
        cache_salt: Any = None,
    ) -> Any:
        wrong = sampling_params.keys() - set(RECORD["sampling_params"])
        if wrong:
            raise TypeError(f"Unexpected keyword argument {min(wrong)!r}")
        self.calls.append({"input_ids": input_ids, "rid": rid, "stream": stream, **sampling_params})
        events = self._answer(rid, input_ids, sampling_params, logprob_start_len)
        if stream:
            return events
        last = None
        async for event in events:
            last = event
        return last

    async def async_encode(
        self,
        prompt: Any,
        image_data: Any = None,
        audio_data: Any = None,
        video_data: Any = None,
        dimensions: int | None = None,
        lora_path: Any = None,
        embed_override_token_id: Any = None,
        embed_overrides: Any = None,
        external_trace_header: Any = None,
        rid: Any = None,
    ) -> Any:
        return [
            {"embedding": [3.0, float(len(text))][:dimensions], "meta_info": {"prompt_tokens": 1}}
            for text in prompt
        ]

    def get_model_info(self) -> dict[str, Any]:
        path = self.args["model_path"]
        return {"model_path": path, "served_model_name": path, "is_generation": True}

    def shutdown(self) -> None:
        assert threading.current_thread() is not threading.main_thread(), "it may block"
        self.num_shutdowns += 1

    async def _answer(
        self, rid: str, ids: list[int], params: dict[str, Any], logprobs_from: int | None
    ) -> AsyncIterator[dict[str, Any]]:
        if self.fails_with is not None:
            raise self.fails_with
        stopped = self.tokenizer_manager.running[rid] = asyncio.Event()
        cached = max((_shared(ids, other) for other in self._prompts), default=0)
        self._prompts.append(ids)
        wanted = [*make_tokenizer().encode(SAYS).ids, END][: params["max_new_tokens"]]
        meta: dict[str, Any] = {
            "id": rid,
            "prompt_tokens": len(ids),
            "cached_tokens": min(cached, len(ids) - 1),
            "completion_tokens": len(wanted),
        }
        if logprobs_from is not None and logprobs_from >= 0:
            rows = ids[logprobs_from:]
            meta["input_token_logprobs"] = [[-(i % 7) / 10, i, None] for i in rows]
        try:
            for num in range(1, len(wanted)):
                if stopped.is_set() or (self.hangs and num > 1):
                    await stopped.wait()
                    yield _event(wanted[:num], meta, {"type": "abort", "message": "Aborted"})
                    return
                yield _event(wanted[:num], meta, None)
            matched = {"type": "stop", "matched": END}
            length = {"type": "length", "length": len(wanted)}
            yield _event(wanted, meta, matched if wanted[-1:] == [END] else length)
        finally:
            del self.tokenizer_manager.running[rid]


def _event(ids: list[int], meta: dict[str, Any], finish: Any) -> dict[str, Any]:
    text = make_tokenizer().decode(ids)
    return {"text": text, "output_ids": list(ids), "meta_info": {**meta, "finish_reason": finish}}


def _shared(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
