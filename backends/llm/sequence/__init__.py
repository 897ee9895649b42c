"""The token state of one request, from prompt to result: `sequence` is what runs, `generation` its
output so far and `output` how it grows, `scoring` a choice's log-probabilities, `group` all
sequences of one request.
"""
