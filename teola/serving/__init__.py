"""The server of `teola serve-engine`: engines of this process behind OpenAI's HTTP API.

`process` runs uvicorn around `app`; `served_engines` starts and finds the engines, `admission`
bounds what runs or waits at each. `generation` takes one HTTP request to the LLM engine, and
`answer` writes what comes back, as one body or as a stream of events.
`chat_api`, `completions_api`, `select_api`, `embeddings_api`, `rerank_api` and `tokens_api` each
hold the fields and the shape of one route; `fields` says what is refused.
"""
