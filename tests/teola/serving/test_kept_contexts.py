"""A server that believes its client keeps its contexts by when they are read next, as the engine of
this process does."""

import asyncio
import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from token_pair import Pair, ask

from backends.base import Tokens
from runtime.clock import run_virtual
from teola.serving import kept_contexts
from teola.serving.client_rules import ClientRules
from teola.serving.context_fields import Words
from teola.serving.kept_contexts import KEEP_S, KeptContexts
from teola.serving.place_fields import Client

PROMPTS = [tuple(range(start, start + 100)) for start in (0, 50, 100)]
SMALL: dict[str, Any] = {"kv_tokens": 256, "context_len": 200}  # room for two of them
ME, OTHER = Client("me"), Client("another")


def decode(engine: Any, context: Any, *ids: int) -> Any:
    return ask(engine, "decode", context, Tokens(ids), max_tokens=2, ignore_eos=True)


async def computed(engine: Any, *read_in_s: float, **attrs: Any) -> tuple[int, list[int]]:
    """Two contexts, then another prompt: prompt tokens that the first costs when it is read, and
    the ids that follow it."""
    contexts = []
    for prompt in PROMPTS[:2]:
        made = await ask(engine, "prefill", None, Tokens(prompt), **attrs)
        contexts.append(made.outputs[0])
    engine.expect(list(zip(contexts, read_in_s, strict=True)))
    (await decode(engine, None, *PROMPTS[2])).outputs[1].release()
    result = await decode(engine, contexts[0], 7, 8, 9)
    return result.usage.prefill_tokens, result.outputs[1].ids


@pytest.mark.parametrize("read_in_s", [(1.0, 1000.0), (1000.0, 1.0)])
def test_what_is_read_later_goes_first_as_in_the_engine_of_this_process(
    with_pair: Callable[..., None], read_in_s: tuple[float, float]
) -> None:
    found: list[tuple[int, list[int]]] = []

    async def here(pair: Pair) -> None:
        found.append(await computed(pair.local, *read_in_s))

    async def there(pair: Pair) -> None:
        found.append(await computed(pair.remote, *read_in_s, ahead=True))

    with_pair(here, **SMALL)
    with_pair(there, **SMALL)
    assert found[0] == found[1]
    assert (found[0][0] == 4) == (read_in_s[0] < read_in_s[1])


def test_under_lru_a_server_keeps_nothing_for_its_clients(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        assert "next_use" not in pair.remote.info.capabilities
        again, _ = await computed(pair.remote, 1.0, 1000.0, ahead=True)
        assert again > 50
        assert not len(pair.engines.served[0].kept)

    with_pair(work, **SMALL, eviction="lru")


def test_a_server_that_does_not_believe_its_clients_keeps_nothing_for_them(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Pair) -> None:
        assert "next_use" not in pair.remote.info.capabilities
        again, _ = await computed(pair.remote, 1.0, 1000.0, ahead=True)
        assert again > 50
        assert not len(pair.engines.served[0].kept)

    with_pair(work, **SMALL, rules=ClientRules())


def test_what_nobody_can_read_any_more_is_released(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        kept = pair.engines.served[0].kept
        first = (await decode(pair.remote, None, *PROMPTS[0])).outputs[1]
        second = (await decode(pair.remote, first, 5)).outputs[1]
        assert len(kept) == 2
        first.release()
        gc.collect()
        third = (await decode(pair.remote, second, 6)).outputs[1]  # the word goes with it
        assert len(kept) == 2
        second.release()
        third.release()
        del first, second, third
        gc.collect()
        while len(kept):  # a moment later, by itself
            await asyncio.sleep(0.01)

    with_pair(work)


def test_a_prompt_that_is_read_again_is_kept_at_its_first_reader(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Pair) -> None:
        head = (await ask(pair.remote, "prefill", None, Tokens(PROMPTS[0]))).outputs[0]
        pair.remote.expect([(head, 60.0)])
        first = await decode(pair.remote, head, 5)
        assert len(pair.engines.served[0].kept) == 2
        assert first.usage.prefill_tokens == 101
        second = await decode(pair.remote, head, 6)
        assert second.usage.prefill_tokens == 2  # the last of the head, and its own
        assert pair.local.cache_stats().expected_reads >= 1

    with_pair(work)


def test_a_name_that_is_not_kept_or_has_other_tokens_changes_no_answer(
    talk_tiny: Callable[..., Any],
) -> None:
    server = talk_tiny()

    def ask(ids: Sequence[int], **contexts: Any) -> Any:
        body = {"prompt": list(ids), "max_tokens": 4, "return_token_ids": True, "temperature": 0}
        answer = server.ask("/v1/completions", {**body, "contexts": contexts or None})
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["token_ids"]

    plain = ask(PROMPTS[0])
    assert ask(PROMPTS[0], reads="nobody", keeps="a") == plain
    assert ask(PROMPTS[0], reads="a") == plain
    assert ask(PROMPTS[1], reads="a") == ask(PROMPTS[1])
    told = server.ask("/v1/foresight", {"expected": {"a": 3.0, "b": 1.0}, "released": ["c"]})
    assert told.json()["num_kept"] == 1
    assert server.ask("/v1/foresight", {"released": ["a"]}).json()["num_kept"] == 0
    wrong = server.ask("/v1/completions", {"prompt": [[1], [2]], "contexts": {"keeps": "a"}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "contexts")
    assert server.ask("/v1/foresight", {"expected": {"a": -1.0}}).status_code == 400


def test_an_engine_that_is_closed_leaves_nothing_behind(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        context = (await decode(pair.remote, None, *PROMPTS[0])).outputs[1]
        assert len(pair.engines.served[0].kept) == 1
        await pair.remote.close()
        assert not len(pair.engines.served[0].kept)
        context.release()

    with_pair(work)


class Stored:
    """A context."""

    def __init__(self, ids: Sequence[int] = (1, 2)) -> None:
        self.ids = ids
        self.is_released = False

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    def release(self) -> None:
        self.is_released = True


def test_what_its_client_says_nothing_of_is_released_after_ten_minutes() -> None:
    async def main() -> None:
        kept, first, second = KeptContexts(), Stored(), Stored()
        kept.keep(ME, "a", first)
        await asyncio.sleep(0.6 * KEEP_S)
        kept.keep(ME, "b", second)
        assert kept.find(ME, "a", (1, 2, 3)) is first
        await asyncio.sleep(0.6 * KEEP_S)
        assert not first.is_released
        await asyncio.sleep(0.6 * KEEP_S)
        assert first.is_released
        assert second.is_released
        assert not len(kept)

    run_virtual(main())


def test_each_client_has_names_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_contexts, "MOST_KEPT", 2)

    async def main() -> None:
        kept, mine, other = KeptContexts(), Stored(), Stored()
        kept.keep(ME, "a", mine)
        assert kept.find(OTHER, "a", (1, 2)) is None
        released = Words.model_validate({"released": ["a"]})
        kept.hear(OTHER, released, None)  # type: ignore[arg-type]
        assert not mine.is_released
        kept.keep(OTHER, "a", other)
        kept.keep(OTHER, "b", Stored())
        assert mine.is_released  # there are more than may be
        monkeypatch.setattr(kept_contexts, "MOST_TOKENS", 10)
        kept.keep(OTHER, "c", Stored(range(9)))
        assert other.is_released
        assert len(kept) == 1  # all others had to go
        kept.close()
        assert not len(kept)

    run_virtual(main())
