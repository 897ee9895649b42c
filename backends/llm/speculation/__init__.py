"""Lossless speculative decoding: a step also computes tokens that are only guessed, and keeps those
that the model would have picked itself.

    known    ... the cat sat on the | guessed  mat and then
    picked                             mat and  so            -> 3 tokens by one step

Each place is sampled as it always is, with the random point of its own seed and place, and a guess
counts if it is the token sampled: so texts are the same as without guesses, greedy or not. That is
Leviathan's scheme (arXiv 2211.17192) with the randomness shared: for a guess without a distribution
the chance of acceptance is the same, p(guess), and what follows a rejection is distributed alike.

`propose` makes guesses (`ngram`: the text repeats itself; `draft`: a small model of the same
vocabulary), `speculator` fits them into steps, `controller` pauses them where they cost more than
they save. No guesses for outputs with a grammar (they have jump-forward) or with penalties (what a
place forbids depends on the guesses before it).
"""
