"""Prefills each chunk of a prompt by itself, behind what precedes the first of them."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items

from backends.base import Chunk, Part, Request, Result, Tokens, Usage, total
from backends.llm.fusion.asked import from_nothing
from backends.llm.fusion.chunk_lengths import ChunkLengths, Encoder
from backends.llm.fusion.fused_work import NOTHING, USUALLY, FusedWork
from backends.llm.fusion.link import Encoded
from backends.llm.fusion.stand_in import stand_in
from backends.llm.sequence.sequence import LLMContext

_KEPT_PREFIXES = 64
PADDING = 0  # a token of every vocabulary

# Which of a prompt's chunks a chunk is encoded behind, after the prefix.
Behind = Callable[[str, Items[str]], Items[str]]


class ChunkEncoder:
    """Of one engine; `costs` gives its tokenizer."""

    def __init__(self, page_size: int, costs: Callable[[], Encoder], behind: Behind | None) -> None:
        self._costs = costs
        self._behind = behind or _no_others
        self._lengths = ChunkLengths(page_size)
        self._prefixes: OrderedDict[tuple[Items[Part], str | None], LLMContext] = OrderedDict()
        self._stand_ins: dict[int, tuple[int, ...]] = {}  # by their lengths

    async def fit(self, chunks: Items[Chunk]) -> bool:
        """Whether a prompt of these chunks may fit."""
        return await self._lengths.fit(chunks, self._costs())

    def forget(self) -> None:
        """Keep nothing of earlier prompts."""
        while self._prefixes:
            self._prefixes.popitem()[1].release()

    async def encode_all(
        self, work: FusedWork, request: Request
    ) -> tuple[LLMContext | None, list[Part | Encoded]] | Exception:
        """The context before the first chunk, and all parts behind it with every chunk encoded; or
        why one could not be."""
        found = await self.behind_prefix(work, request)
        if isinstance(found, Exception):
            return found
        prefix, parts = found
        encoding, behind = work.encoding, prefix
        if encoding.is_alone:
            request = from_nothing(request)
        if encoding != USUALLY:
            num_before = 0 if encoding.is_alone else len(request.inputs) - 1 - len(parts)
            other = await self._aside(work, request, request.inputs[1 : 1 + num_before])
            if isinstance(other, Exception):
                return other
            behind = other
        texts = list(dict.fromkeys(part for part in parts if isinstance(part, Chunk)))
        ways = [(text, self._behind(text, texts)) for text in texts]
        encoded = await self.encode_each(work, request, behind, ways)
        return encoded if isinstance(encoded, Exception) else (prefix, put_in(parts, encoded))

    async def behind_prefix(
        self, work: FusedWork, request: Request
    ) -> tuple[LLMContext | None, Items[Part]] | Exception:
        """The context before the first chunk, and the parts from there on."""
        parts = request.inputs[1:]
        first = next(i for i, part in enumerate(parts) if isinstance(part, Chunk))
        prefix = await self._before(work, request, parts[:first])
        return prefix if isinstance(prefix, Exception) else (prefix, parts[first:])

    async def encode_each(
        self,
        work: FusedWork,
        request: Request,
        behind: LLMContext | None,
        ways: Items[tuple[str, Items[str]]],
    ) -> dict[str, Encoded] | Exception:
        """Chunks behind a context, each with those that stand between."""
        parts_or_errors = await asyncio.gather(
            *(self._encode(work, request, i, behind, *way) for i, way in enumerate(ways))
        )
        encoded: dict[str, Encoded] = {}
        for (text, _), part in zip(ways, parts_or_errors, strict=True):
            if not isinstance(part, Encoded):
                return part
            encoded[text] = part
        return encoded

    async def _before(
        self, work: FusedWork, request: Request, parts: Items[Part]
    ) -> LLMContext | Exception | None:
        """The context of what precedes a chunk, which then begins no prompt."""
        context = await self._prefix(work, request, parts) if parts else request.inputs[0]
        if isinstance(context, Exception) or (context is not None and context.ids):
            return context
        start_ids = self._costs().start_ids
        if not start_ids:
            return context
        return await self._prefix(work, request, [*parts, Tokens(start_ids)])

    async def _aside(
        self, work: FusedWork, request: Request, parts: Items[Part]
    ) -> LLMContext | Exception | None:
        """The context that chunks are encoded behind, where it is not that of the prompt."""
        if not work.encoding.num_context:
            return await self._before(work, request, parts)
        start_ids = () if parts or request.inputs[0] is not None else self._costs().start_ids
        others = self._stand_in(work.encoding.num_context)
        of_prompt, work.prefix = work.prefix, NOTHING
        found = await self._prefix(work, request, [*parts, Tokens((*start_ids, *others))])
        of_prompt, work.prefix = work.prefix, of_prompt
        work.encoded.append(Usage(prefill_tokens=of_prompt.prefill_tokens))
        return found

    def _stand_in(self, num_tokens: int) -> tuple[int, ...]:
        if num_tokens not in self._stand_ins:
            costs = self._costs()
            ids = stand_in(costs.encode, costs.start_ids, num_tokens)
            self._stand_ins[num_tokens] = tuple(ids)
        return self._stand_ins[num_tokens]

    async def _prefix(
        self, work: FusedWork, request: Request, before: Items[Part]
    ) -> LLMContext | Exception:
        """The context of what precedes the first chunk. That of a prompt's start is kept: the tree
        would know no tokens behind its last full page."""
        key = (tuple(before), request.attrs.get("cache_salt"))
        is_kept = request.inputs[0] is None and not request.attrs.keys() - {"cache_salt"}
        if is_kept and (kept := self._prefixes.get(key)) is not None:
            self._prefixes.move_to_end(key)
            work.prefix = total((work.prefix, Usage(cached_tokens=max(0, len(kept.ids) - 1))))
            return kept
        outcome = await work.run(request, "prefix", request.inputs[0], *before)
        if not isinstance(outcome, Result):
            return outcome
        prefix: LLMContext = outcome.outputs[0]
        work.prefix = total((work.prefix, outcome.usage))
        if not is_kept:
            work.made.append(outcome)
            return prefix
        self._prefixes[key] = prefix
        if len(self._prefixes) > _KEPT_PREFIXES:
            self._prefixes.popitem(last=False)[1].release()
        return prefix

    async def _encode(
        self,
        work: FusedWork,
        request: Request,
        number: int,
        prefix: LLMContext | None,
        text: str,
        before: Items[str],
    ) -> Encoded | Exception:
        if before:
            outcome = await work.run(request, f"{number}b", prefix, *map(str, before))
            if not isinstance(outcome, Result):
                return outcome
            work.made.append(outcome)
            work.encoded.append(outcome.usage)
            (prefix,) = outcome.outputs
        padding = self._lengths.padding(len(prefix.ids) if prefix is not None else 0, text)
        filling = Tokens((PADDING,) * padding)
        outcome = await work.run(request, str(number), prefix, text, filling)
        if not isinstance(outcome, Result):
            return outcome
        work.made.append(outcome)
        work.encoded.append(outcome.usage)
        is_new = outcome.usage.prefill_tokens >= padding  # more than what fills no page
        work.num_encoded += bool(text) and is_new
        return self._encoded(prefix, text, outcome.outputs[0], padding)

    def _encoded(
        self, prefix: LLMContext | None, text: str, context: LLMContext, padding: int
    ) -> Encoded:
        start = len(prefix.ids) if prefix is not None else 0
        end = len(context.ids) - padding
        self._lengths.note(text, end - start)
        return Encoded(tuple(context.ids[start:end]), context.table, start, text)


def put_in(parts: Items[Part], encoded: Mapping[str, Encoded]) -> list[Part | Encoded]:
    """The parts with their chunks as they were encoded."""
    return [encoded[part] if isinstance(part, Chunk) else part for part in parts]


def _no_others(text: str, texts: Items[str]) -> tuple[str, ...]:  # noqa: ARG001
    return ()
