"""From logits to tokens: processors, grammars, greedy and random choice."""
