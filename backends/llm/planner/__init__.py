"""What the next step of the model computes: one planner, and policies made of four hooks.

| hook | answers | in |
|---|---|---|
| order | the order of service | `orders` |
| admit | which of them may take part | `admission.watermark` |
| budget | how many tokens the step may compute | `budgets` |
| victims | whose pages go first when there are none left | `admission.last_first` |

All are pure functions of (sequences, view, now). `named` puts them together.
"""
