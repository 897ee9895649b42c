"""What the next step of the model computes: one planner, and policies made of four hooks.

| hook | answers | in |
|---|---|---|
| order | the order of service | `policies` |
| admit | which of them may take part | `admission.watermark` |
| budget | how many tokens the step may compute | `admission.step_budget` |
| victims | whose pages go first when there are none left | `admission.last_first` |

All are pure functions of (sequences, view, now): see `policy`. `policies` puts them together by
name. `latency` predicts step times.
"""
