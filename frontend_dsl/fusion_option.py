"""What may be said of KV cache fusion: `reuse=` of `tl.join`, `fusion=` of an LLM and of an app."""

from backends.errors import RequestRejected
from graph_opt.analysis.fusion_choices import EXACT, FUSE, auto_floor

HOW = (
    '"auto" (the fastest plan that keeps enough by the model\'s profile), "auto(0.6)" (with '
    'another floor of R), "exact", or a plan by its name, like "query(0.15)"'
)


def check_fusion(text: object, what: str) -> None:
    """Raise ValueError for what is no plan of KV cache fusion."""
    if not isinstance(text, str):
        raise ValueError(f"{what} is {HOW}; not {text!r}")
    if text == EXACT or auto_floor(text) is not None:
        return
    from backends.llm.fusion.named_plans import plan_from  # late: most apps name none

    try:
        plan_from(text)
    except RequestRejected as error:
        raise ValueError(f"{what} is {HOW}; not {text!r}: {error}") from None


def check_reuse(text: object) -> None:
    """Raise ValueError for what `tl.join` does not take."""
    if text != FUSE:
        check_fusion(text, f'reuse= of tl.join is "{FUSE}" (as the model or the app says), or it')
