"""LoRA adapters: many in one batch over one base model, never merged into its weights.

`config` and `files` read what PEFT saves and refuse what would be computed wrongly, `weights` is
what they become, `segments` adds them to a step's rows, `pool` says which are in memory: they pay
with pages of the KV cache, so that KV and adapters share one budget.

Letter of the shape comments: R, the ranks of a fused projection's parts, added up.
"""
