"""Text to tokens and back: `tokenizer` with its files, `chat` templates and those with tools,
`detokenizer`, `stop` strings.
"""
