"""The embedded engine: Llama-family models, continuous batching over paged KV.

`core` is one step: `planner` picks decode rows and prefill chunks, `speculation` puts guesses
behind them, `model` computes them, `sample` makes tokens of logits, `sequence` grows outputs;
`live_requests` says who is here and how requests end. `kv` owns every page. `requests` makes
sequences of requests before they reach the thread of `worker`, and `engine` is the Engine protocol
around it. The folders and the life of a decode are drawn in docs/engine.md.

Letters of the shape comments:

    T  tokens of a step, all sequences end to end      B  decode rows of a step
    E  hidden size       F  MLP width                  V  vocabulary
    H  query heads       K  key/value heads            G  query heads a KV head, H = K * G
    D  head size         L  layers
    Q  tokens of one prefill chunk                     N  keys a row may see
    P  pages             S  tokens a page
"""
