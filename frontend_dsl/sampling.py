"""How a model writes: the keywords of `tl.prompt`, and the attrs of a decode that they become."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import TypedDict, Unpack

from graph_opt.graph import Json

MAX_TOKENS = 256  # of an answer whose type says no limit


class Sampling(TypedDict, total=False):
    """How a model writes; what is left out is greedy, and as long as the answer's type allows."""

    temperature: float
    max_tokens: int
    top_p: float
    top_k: int
    stop: str | Sequence[str]
    seed: int | None


def sampling_attrs(
    enough_tokens: int | None = None, **sampling: Unpack[Sampling]
) -> dict[str, Json]:
    """The attrs of a decode; what is off is left out. `enough_tokens` any answer has room in."""
    _check_known(sampling)
    most = MAX_TOKENS if enough_tokens is None else enough_tokens
    given = sampling.get("max_tokens")
    max_tokens = most if given is None else given
    temperature, seed = sampling.get("temperature", 0.0), sampling.get("seed")
    top_p, top_k = sampling.get("top_p", 1.0), sampling.get("top_k", 0)
    stop = sampling.get("stop", ())
    if temperature < 0 or max_tokens < 1 or not 0 < top_p <= 1 or top_k < 0:
        raise ValueError(
            "need temperature >= 0, max_tokens >= 1, 0 < top_p <= 1 and top_k >= 0; got "
            f"{temperature=} {max_tokens=} {top_p=} {top_k=}"
        )
    attrs: dict[str, Json] = {"max_tokens": max_tokens}
    if temperature:
        attrs |= {"temperature": temperature}
        attrs |= {"top_p": top_p} if top_p < 1 else {}
        attrs |= {"top_k": top_k} if top_k else {}
        attrs |= {"seed": seed} if seed is not None else {}
    if stop:
        attrs["stop"] = [stop] if isinstance(stop, str) else list(stop)
    return attrs


def _check_known(names: Collection[str]) -> None:
    known = sorted(Sampling.__annotations__)
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
            raise TypeError(f"there is no sampling option {name!r}{hint}")
