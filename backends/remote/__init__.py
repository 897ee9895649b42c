"""Engines that are servers: SGLang, vLLM, OpenAI's API and those like it, Ollama, teola's own."""
