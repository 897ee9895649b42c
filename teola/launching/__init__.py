"""vLLM and SGLang as child processes: installed, started, watched, stopped."""
