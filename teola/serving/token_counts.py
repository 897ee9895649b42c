"""The tokens of an HTTP request, as OpenAI's `usage` has them."""

from dataclasses import asdict, dataclass
from typing import Any

from backends.base import Context, FusionReport, Result
from backends.fusion_reports import total_report
from backends.served import Served, one_after_another


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Prompts count once, however many answers are written for each."""

    prompt: int = 0
    cached: int = 0  # of those of the prompts
    completion: int = 0
    fused: int = 0  # of those of the prompts
    reports: tuple[FusionReport, ...] = ()  # of fused prompts
    served: tuple[Served, ...] = ()  # one after another, where its client asked

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.fused + other.fused,
            self.reports + other.reports,
            self.served + other.served,
        )

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's `usage`; for a fused prompt with what that saved."""
        found: dict[str, Any] = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }
        if self.served:
            found["served"] = one_after_another(self.served).fields
        report = total_report(self.reports)
        if report is None:
            return found
        details = {"cached_tokens": self.cached, "fused_tokens": self.fused}
        return {**found, "prompt_tokens_details": details, "fusion": asdict(report)}


def prompt_counts(prefill: Result) -> TokenCounts:
    """Of a prompt that was prefilled."""
    context: Context = prefill.outputs[0]
    usage, report = prefill.usage, prefill.fusion
    return TokenCounts(
        context.num_tokens,
        usage.cached_tokens,
        fused=usage.fused_tokens,
        reports=() if report is None else (report,),
    )
