"""What was found of one engine. None stands for what a server does not tell."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class CheckedEngine:
    """Filled while the engine is looked at; each of `hints` and `problems` says what to do."""

    url: str
    kind: str = ""  # vLLM, SGLang, llama.cpp, Ollama, teola, OpenAI; "in process"; "not asked"
    is_reachable: bool = False
    version: str | None = None
    models: list[str] = field(default_factory=list)
    context_tokens: int | None = None
    prefix_cache: bool | None = None
    hit_rate: float | None = None  # of prompt tokens, since the server's start
    metrics: bool | None = None
    priorities: bool | None = None  # of requests
    kv_events: bool | None = None
    cached_counts: bool | None = None  # answers say how much of a prompt came from the cache
    hints: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def advise(self, fact: bool | None, advice: str) -> None:
        """A hint, where something is known to be off."""
        if fact is False:
            self.hints.append(advice)
