"""LoRA adapters: many in one batch over one base model, never merged into its weights.

`config` and `files` read what PEFT saves and refuse what would be computed wrongly, `adapter` is
what it becomes, `segments` adds it to a step's rows, `pool` says which are in memory: they pay with
pages of the KV cache, so that KV and adapters share one budget.

Letter of the shape comments: R, the ranks of a fused projection's parts, added up.
"""
