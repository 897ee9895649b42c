"""What the next step of the model computes: one planner, and policies made of four hooks.

| hook | answers | in |
|---|---|---|
| order | the order of service | `by_arrival by_stage by_priority by_prefix by_level by_deadline` |
| admit | which of them may take part | `watermark when_idle` |
| budget | how many tokens the step may compute | `fixed_budget itl_budget whole_prompts` |
| victims | whose pages go first when there are none left | `last_first` |

All are pure functions of (sequences, view, now). `named` puts them together.
"""
