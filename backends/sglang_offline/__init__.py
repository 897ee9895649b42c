"""SGLang in this process: its offline `Engine` behind the routes of its HTTP server.

The engines are those of a remote server, token ids in and token ids out; only the way there is
another one. Written against sglang 0.5.23.
"""
