"""The token state of one request, from prompt to result: `sequence` is what runs, `generation` what
it computes (an output or scores) and `output` how that grows, `tool_decoding` what tools add,
`group` all sequences of one request.
"""
