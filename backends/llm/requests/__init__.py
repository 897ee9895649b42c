"""From a request to its sequences: `validation` checks it and puts them together of `inputs`,
`sampling` and the ids of `prompt_encoder`; `preparation_threads` do so beside the engine's thread.
"""
