"""The embedded engine: Llama-family models in torch, continuous batching over paged KV.

One step: `planner` picks decode rows and prefill chunks, `speculation` puts guesses behind them
where that pays, `batch` lays them out, `model` runs them, `sampling_results` and `sampler` pick
tokens, `output` grows texts, `core` finishes requests. `kv_cache` owns every page: `page_pool`
counts the holders, `radix` finds shared prefixes, `eviction` says which go first, `tiers` keep them
in host memory and on disk, `kv_pool` is the memory. `engine` puts a thread and the Engine protocol
around `core`.

Letters of the shape comments:

    T  tokens of a step, all sequences end to end      B  decode rows of a step
    E  hidden size       F  MLP width                  V  vocabulary
    H  query heads       K  key/value heads            G  query heads a KV head, H = K * G
    D  head size         L  layers
    Q  tokens of one prefill chunk                     N  keys a row may see
    P  pages             S  tokens a page
"""
