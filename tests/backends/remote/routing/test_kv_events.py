"""KV events, from a real ZMQ publisher: what the router knows of a server's cache is exact."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio
from fault_server import Answer, FaultServer, Seen, as_json
from servers import Caller, Server, routed, words

from backends.base import Outcome, Request, Result
from backends.errors import ConfigError
from backends.registry import EngineSpec, create
from backends.remote.routing.kv_blocks import KVBlocks, block_keys
from backends.remote.routing.kv_events import KVSource, KVSubscription, offered_sources
from backends.remote.routing.routed_engine import RoutedEngine

SIZE = 4  # ids in a block


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def stored(
    blocks: Sequence[Any], ids: Sequence[int], parent: Any = None, **fields: Any
) -> dict[str, Any]:
    """As vLLM 0.32 writes it."""
    return {
        "type": "BlockStored",
        "block_hashes": list(blocks),
        "parent_block_hash": parent,
        "token_ids": list(ids),
        "block_size": SIZE,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
    } | fields


def removed(*blocks: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "BlockRemoved", "block_hashes": list(blocks), "medium": "GPU"} | fields


class Publisher:
    """Publishes as a server does. XPUB, which sees when somebody has subscribed."""

    def __init__(self, context: zmq.asyncio.Context) -> None:
        self._context = context
        self._open("tcp://127.0.0.1:*")
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _open(self, endpoint: str) -> None:
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(endpoint)
        self.number = 0

    async def subscribed(self) -> None:
        await self._socket.recv()

    async def publish(self, *events: Any) -> None:
        await self.send(msgspec.msgpack.encode([0.0, list(events), 0]))

    async def send(self, payload: bytes) -> None:
        number = self.number.to_bytes(8, "big")
        self.number += 1
        await self._socket.send_multipart([b"", number, payload])

    async def restart(self) -> None:
        self.close()
        for _ in range(1000):  # a socket is closed by a thread, some time later
            try:
                self._open(self.endpoint)
                break
            except zmq.ZMQError:
                self._socket.close()
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def publisher() -> AsyncIterator[Publisher]:
    context = zmq.asyncio.Context()
    made = Publisher(context)
    try:
        yield made
    finally:
        made.close()
        context.term()


@asynccontextmanager
async def subscription(source: Publisher) -> AsyncIterator[KVBlocks]:
    opened = KVSubscription(KVSource(source.endpoint))
    try:
        await source.subscribed()
        yield opened.blocks
    finally:
        await opened.close()


def held(blocks: KVBlocks, ids: Sequence[int], adapter: str | None, salt: str | None) -> int:
    """How many of the first ids the server holds."""
    return blocks.match(block_keys(ids, blocks.block_size, adapter, salt))


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_blocks_are_found_by_the_ids_they_hold() -> None:
    blocks = KVBlocks()
    blocks.apply(stored([b"a", b"b"], range(8)))
    blocks.apply(stored([b"c"], [90, 91, 92, 93], parent=b"b"))
    assert held(blocks, [*range(8), 90, 91, 92, 93, 7], None, None) == 12
    assert held(blocks, [*range(8), 1, 2, 3, 4], None, None) == 8
    assert held(blocks, [90, 91, 92, 93], None, None) == 0
    assert held(blocks, list(range(7)), None, None) == 4
    blocks.apply(removed(b"b"))
    assert held(blocks, [*range(8), 90, 91, 92, 93], None, None) == 4
    blocks.apply({"type": "AllBlocksCleared"})
    assert held(blocks, list(range(8)), None, None) == 0
    assert blocks.is_complete


def test_adapters_and_salts_have_blocks_of_their_own() -> None:
    blocks = KVBlocks()
    blocks.apply(stored([1], range(4), lora_name="french", extra_keys=[["french"]]))
    blocks.apply(stored([2], range(10, 14), extra_keys=[["tenant"]]))
    blocks.apply(stored([3], range(20, 24), extra_keys=[[["image", 0]]]))
    assert held(blocks, range(4), "french", None) == 4
    assert held(blocks, range(4), None, None) == 0
    assert held(blocks, range(10, 14), None, "tenant") == 4
    assert held(blocks, range(10, 14), None, None) == 0
    assert held(blocks, range(20, 24), None, None) == 0


def test_blocks_off_the_device_and_behind_unknown_ones_do_not_count() -> None:
    blocks = KVBlocks()
    blocks.apply(stored([1], range(4), medium="CPU"))
    blocks.apply(stored([3], range(4), parent=2))
    assert held(blocks, range(4), None, None) == 0
    blocks.apply(stored([1], range(4)))
    blocks.apply(removed(1, medium="CPU"))
    blocks.apply(removed(77))
    assert held(blocks, range(4), None, None) == 4


def test_events_of_older_servers_are_arrays() -> None:
    blocks = KVBlocks()
    blocks.apply(["BlockStored", [1], None, [1, 2, 3, 4], 4, None])
    assert held(blocks, [1, 2, 3, 4], None, None) == 4
    blocks.apply(["BlockRemoved", [1]])
    assert held(blocks, [1, 2, 3, 4], None, None) == 0
    blocks.apply(["AllBlocksCleared"])


# What vLLM 0.32's own classes write: two blocks of a tenant, one behind them, which goes again.
RECORDED = bytes.fromhex(
    "93cb3ff8000000000000938ba474797065ab426c6f636b53746f726564ac626c6f636b5f68617368657392c420"
    "0101010101010101010101010101010101010101010101010101010101010101c4200202020202020202020202"
    "020202020202020202020202020202020202020202b1706172656e745f626c6f636b5f68617368c0a9746f6b65"
    "6e5f696473980102030405060708aa626c6f636b5f73697a6504a76c6f72615f6964c0a66d656469756da34750"
    "55a96c6f72615f6e616d65c0aa65787472615f6b6579739291a674656e616e74c0a967726f75705f69647800b2"
    "6b765f63616368655f737065635f6b696e64ae66756c6c5f617474656e74696f6e88a474797065ab426c6f636b"
    "53746f726564ac626c6f636b5f686173686573914db1706172656e745f626c6f636b5f68617368c42002020202"
    "02020202020202020202020202020202020202020202020202020202a9746f6b656e5f69647394090a0b0caa62"
    "6c6f636b5f73697a6504a76c6f72615f6964c0a66d656469756da3475055a96c6f72615f6e616d65c084a47479"
    "7065ac426c6f636b52656d6f766564ac626c6f636b5f686173686573914da66d656469756da3475055a967726f"
    "75705f6964780000"
)
RECORDED_CLEAR = bytes.fromhex(
    "93cb40000000000000009181a474797065b0416c6c426c6f636b73436c656172656400"
)


def test_events_as_vllm_encodes_them_are_read() -> None:
    blocks = KVBlocks()
    _, events, _ = msgspec.msgpack.decode(RECORDED)
    blocks.apply(events[0])
    blocks.apply(events[1])
    assert held(blocks, range(1, 13), None, "tenant") == 12
    assert held(blocks, range(1, 13), None, None) == 0
    blocks.apply(events[2])
    assert held(blocks, range(1, 13), None, "tenant") == 8
    blocks.apply(msgspec.msgpack.decode(RECORDED_CLEAR)[1][0])
    assert len(blocks) == 0


def test_events_come_over_zmq() -> None:
    async def main() -> None:
        async with publisher() as server, subscription(server) as blocks:
            assert not blocks.is_complete  # nothing was heard yet
            await server.publish(stored([b"a"], range(4)), stored([b"b"], range(4, 8), b"a"))
            await until(lambda: len(blocks) == 2)
            assert blocks.is_complete
            await server.publish(removed(b"b"))
            await until(lambda: len(blocks) == 1)
            assert held(blocks, range(8), None, None) == 4

    run(main())


def test_a_gap_in_the_numbers_resets_what_is_known() -> None:
    async def main() -> None:
        async with publisher() as server, subscription(server) as blocks:
            await server.publish(stored([1], range(4)))
            await until(lambda: len(blocks) == 1)
            server.number += 1
            await server.publish(stored([2], range(10, 14)))
            await until(lambda: held(blocks, range(10, 14), None, None) == 4)
            assert held(blocks, range(4), None, None) == 0
            assert not blocks.is_complete

    run(main())


def test_who_comes_late_does_not_know_all() -> None:
    async def main() -> None:
        async with publisher() as server:
            await server.publish(stored([1], range(4)))  # nobody hears it
            async with subscription(server) as blocks:
                await server.publish(stored([2], range(10, 14)))
                await until(lambda: len(blocks) == 1)
                assert not blocks.is_complete

    run(main())


def test_a_server_that_is_started_again_begins_with_an_empty_cache() -> None:
    async def main() -> None:
        async with publisher() as server, subscription(server) as blocks:
            for number in range(3):
                await server.publish(stored([number], range(4 * number, 4 * number + 4)))
            await until(lambda: len(blocks) == 3)
            await server.restart()
            await server.subscribed()
            await server.publish(stored([9], range(90, 94)))
            await until(lambda: held(blocks, range(90, 94), None, None) == 4)
            assert held(blocks, range(4), None, None) == 0
            assert blocks.is_complete

    run(main())


def test_what_cannot_be_read_resets_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    wrong = [b"\xc1", msgspec.msgpack.encode(7), msgspec.msgpack.encode([0.0, [{"type": "X"}], 0])]
    lacking = msgspec.msgpack.encode([0.0, [{"type": "BlockStored"}], 0])

    async def main() -> None:
        async with publisher() as server, subscription(server) as blocks:
            for payload in (*wrong[:2], lacking):
                blocks.reset(is_complete=True)
                await server.send(payload)
                await until(lambda: not blocks.is_complete)
            await server.publish(stored([1], range(4)))
            await until(lambda: len(blocks) == 1)

    run(main())
    assert "cannot be read" in caplog.text


class IdsContext:
    """The words of a text as token ids."""

    def __init__(self, text: str) -> None:
        self.text_of_ids = text
        self.ids = [hash(word) % 50_000 for word in text.split()]

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    def release(self) -> None:
        """Nothing to give up."""


class IdsServer(Server):
    """One whose contexts are token ids."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inputs: list[tuple[Any, ...]] = []  # of requests that the server is asked

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        (request,) = requests
        context, *parts = request.inputs if request.op != "generate" else (None, *request.inputs)
        text = (context.text_of_ids if context is not None else "") + "".join(parts)
        if request.op == "prefill" and not request.attrs.get("ahead"):
            return [Result((IdsContext(text),))]
        self.inputs.append(request.inputs)
        asked = Request(request.id, "generate", (text,), request.attrs, emit=request.emit)
        outcomes = await super().execute([asked])
        if request.op == "decode" and isinstance(outcomes[0], Result):
            text += outcomes[0].outputs[0]
            return [Result((outcomes[0].outputs[0], IdsContext(text)), outcomes[0].usage)]
        return outcomes


def test_requests_go_where_events_say_that_their_prompt_is() -> None:
    """Both caches hold nothing that we sent: other clients filled them."""

    async def main() -> None:
        async with publisher() as first, publisher() as second:
            sources = {"http://server0:8000": first, "http://server1:8000": second}

            async def find(root: str) -> list[KVSource]:
                return [KVSource(sources[root].endpoint)]

            servers = [IdsServer(prefill_token_s=1e-5, token_s=1e-4) for _ in range(2)]
            engine = routed(*servers, find_events=find)
            await engine.start()
            await asyncio.gather(first.subscribed(), second.subscribed())
            heads = [words("first", 400), words("second", 400)]
            for source, head in zip((first, second), heads, strict=True):
                ids = IdsContext(head).ids
                await source.publish(stored(range(1000, 1100), ids))
            await until(lambda: all(e.caches[0].is_complete for e in engine.endpoints))
            caller = Caller(engine)
            for i in range(6):
                for server, head in zip(servers, heads, strict=True):
                    before = len(server.seen)
                    outcome = await caller.ask(head + f"question {i}", max_tokens=1)
                    assert isinstance(outcome, Result)
                    assert len(outcome.outputs) == 1  # a text, as of any generate
                    assert len(server.seen) == before + 1
            assert all(isinstance(inputs[0], IdsContext) for inputs in servers[0].inputs)
            await second.publish({"type": "AllBlocksCleared"})
            await first.publish(stored(range(2000, 2100), IdsContext(heads[1]).ids))
            ids, caches = IdsContext(heads[1]).ids, [e.caches[0] for e in engine.endpoints]
            await until(lambda: held(caches[0], ids, None, None) and not len(caches[1]))
            before = len(servers[0].seen)
            for i in range(4):
                await caller.ask(heads[1] + f"another {i}", max_tokens=1)
            assert len(servers[0].seen) == before + 4
            await engine.close()

    run(main())


def test_vllm_says_where_it_publishes() -> None:
    config = {"publisher": "zmq", "endpoint": "tcp://*:5557", "topic": "kv"}
    silent = {"publisher": "null", "endpoint": "tcp://*:5558"}

    async def main() -> None:
        as_map = as_json({"0": config, "1": silent})
        as_list = as_json([{"data_parallel_rank": 0, "endpoint": "tcp://10.0.0.1:1", "topic": ""}])
        async with FaultServer(as_map, as_list, as_json({})) as server:
            client = server.client()
            assert await offered_sources(client) == [KVSource("tcp://127.0.0.1:5557", "kv")]
            assert await offered_sources(client) == [KVSource("tcp://10.0.0.1:1")]
            assert await offered_sources(client) == []
            assert server.seen[0].path == "/kv_event_sources"
            await client.close()

    run(main())


def test_an_engine_subscribes_to_what_its_servers_offer() -> None:
    async def main() -> None:
        async with publisher() as source:

            def answer(seen: Seen) -> Answer:
                if seen.path == "/kv_event_sources":
                    return as_json({"0": {"publisher": "zmq", "endpoint": source.endpoint}})
                return as_json({"data": [{"id": "m"}]})

            def plain(seen: Seen) -> Answer:
                status = 404 if seen.path == "/kv_event_sources" else 200
                return as_json({"data": [{"id": "m"}]}, status)

            async with FaultServer(answer) as a, FaultServer(plain) as b:
                url = f"vllm://{a.address},{b.address}/m"
                engine = create(EngineSpec("embedder", url))
                assert isinstance(engine, RoutedEngine)
                await engine.start()
                await source.subscribed()
                assert [len(endpoint.caches) for endpoint in engine.endpoints] == [1, 0]
                await engine.close()
                deaf = create(EngineSpec("embedder", url, {"kv_events": False}))
                assert isinstance(deaf, RoutedEngine)
                await deaf.start()
                assert [len(endpoint.caches) for endpoint in deaf.endpoints] == [0, 0]
                await deaf.close()

    run(main())


def test_each_endpoint_needs_an_address_of_events() -> None:
    with pytest.raises(ConfigError, match="2 endpoints, and kv_events names 1"):
        create(EngineSpec("embedder", "vllm://a:1,b:2/m", {"kv_events": "tcp://a:5557"}))
