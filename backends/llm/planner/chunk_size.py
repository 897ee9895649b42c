"""How many prompt tokens a step computes beside decodes: what delays queries least, in all.

A large chunk brings a prompt to its first token soon and holds up every decode for its whole
length; a small one costs little more than its decodes alone, and a prompt of P tokens takes P / c
such steps. Neither is always right:

    decodes that end in 4 steps, a prompt of 512       c =  64: they leave early, the prompt
                                                       is a little later
    decodes that go on for 200 steps, the same prompt  c = 512: small chunks would delay it, and
                                                       save the decodes nothing in the end

So the schedule of the next steps is written down for some sizes, and the size is taken under which
the ends of all queries' parts add up to the least:

    n = ceil(P / c) steps of T(c) seconds, then decodes alone, T(0) a step
    a prompt whose last token is the p-th of all         ceil(p / c) * T(c)
    a query of which decodes are left for d steps        min(d, n) * T(c) + max(0, d - n) * T(0)

Of several sequences of one query only the last to end counts. Sarathi-Serve (arXiv 2403.02310) has
one size for all steps; AccelGen (arXiv 2503.13737) one for a target between tokens.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping

LEAST = 16  # tokens


def chunk_of_least_delay(
    prompts: Iterable[tuple[Hashable, int]],
    decodes: Mapping[Hashable, int],
    step_s: Callable[[int], float],
    most: int,
) -> int:
    """Prompt tokens of the next step, at most `most`.

    `prompts` are queries with the tokens of one prompt, in the order of service; `decodes` the
    steps that the longest decode of each query still takes; `step_s` the seconds of a step with so
    many prompt tokens beside all decodes."""
    ends: dict[Hashable, int] = {}  # the tokens of all prompts up to and with a query's last
    num_tokens = 0
    for query, num in prompts:
        if num <= 0:  # its KV is there: it ends whatever the size
            continue
        num_tokens += num
        ends[query] = num_tokens
    steps = [num for query, num in decodes.items() if query not in ends]
    if not steps or not ends or most <= LEAST:
        return most
    alone_s = step_s(0)

    def delay_s(size: int) -> float:
        with_s = step_s(size)
        n = -(-num_tokens // size)
        begun = sum(-(-end // size) for end in ends.values()) * with_s
        return begun + sum(min(d, n) * with_s + max(0, d - n) * alone_s for d in steps)

    return min(_sizes(min(most, num_tokens)), key=delay_s)


def _sizes(most: int) -> list[int]:
    """`most`, its half, and so on: the largest first, which ties go to."""
    sizes = [most]
    while sizes[-1] >= 2 * LEAST:
        sizes.append(sizes[-1] // 2)
    return sizes
