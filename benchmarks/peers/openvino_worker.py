"""OpenVINO GenAI as a benchmark worker: python openvino_worker.py MODEL.gguf."""

import json
import resource
import sys
import time

import numpy as np
import openvino as ov
import openvino_genai as genai


def main(model: str) -> None:
    began = time.perf_counter()
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.max_num_seqs = 32
    scheduler.max_num_batched_tokens = 2048
    scheduler.cache_size = 2
    pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU")
    say(load_s=time.perf_counter() - began)
    for line in sys.stdin:
        asked = json.loads(line)
        config = genai.GenerationConfig()
        config.max_new_tokens = asked["new"]
        config.ignore_eos = True
        config.do_sample = False
        tensors = [ov.Tensor(np.array([ids], np.int64)) for ids in asked["prompts"]]
        began = time.perf_counter()
        results = pipeline.generate(tensors, [config] * len(tensors))
        say(
            s=time.perf_counter() - began,
            tokens=sum(len(result.m_generation_ids[0]) for result in results),
            peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )


def say(**fields: object) -> None:
    print("@" + json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
