import asyncio, time
from itertools import count
from contextlib import asynccontextmanager
import pytest, torch
from backends.base import Chunk, Request, Result, Tokens, Turn
from backends.llm.engine import LLMEngine
from backends.errors import EngineError

P = "Read this. "
C = [f"Passage {i} tells of {i} ships and a storm." for i in range(6)]
N = count(1)
PLANS = (
    "exact",
    "reuse",
    "lego(4)",
    "lego(9999999)",
    "query(0.15)",
    "query(1)",
    "query(0)",
    "blend(0.15)",
    "blend(1)",
    "blend(0.2,v=true)",
    "blend(0.2,check=0)",
    "gradual(0.2)",
    "random(0.3)",
    "focus(2)",
    "focus(2,sort=true)",
    "focus(0)",
    "query(0.15)+first(3)",
    "blend(0.15)+first(2)",
    "reuse+alone",
    "lego(4)+alone",
    "query(0.15)+alone",
    "blend(0.15)+alone",
    "query(1)+alone",
    "exact+alone",
    "exact+first(2)",
    "query(0.1,first=0,end=0)",
    "query(0.2,end=0)",
    "query(0.2,5,1)",
    "blend(0.2,check=999)",
)


@pytest.fixture(scope="module")
def nat(load_tiny):
    return load_tiny(head_dim=16, num_hidden_layers=4).moved(kernels="native")


@asynccontextmanager
async def running(model, **options):
    core = model.driver(stops=False, **options).core
    engine = LLMEngine("tiny", 8, lambda: core)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
        core.check_integrity()


def req(op, inputs, **attrs):
    return Request(f"{next(N):032x}", op, tuple(inputs), attrs)


async def one(engine, r):
    try:
        (o,) = await engine.execute([r])
        return o
    except Exception as e:
        return ("RAISED", type(e).__name__, str(e)[:200])


def show(o, n=200):
    if isinstance(o, Result):
        u = o.usage
        return f"ok n={o.outputs[0].num_tokens if hasattr(o.outputs[0], 'num_tokens') else o.outputs} prefill={u.prefill_tokens} cached={u.cached_tokens} fused={u.fused_tokens} rep={o.fusion and (o.fusion.num_chunks, o.fusion.num_encoded, o.fusion.num_tokens, o.fusion.rows)}"
    return (
        repr(o)[:n]
        if not isinstance(o, Exception)
        else f"{type(o).__name__}: {str(o)[:n]} len={len(str(o))}"
    )


def test_plans_usage(nat):
    async def main():
        for plan in PLANS:
            async with running(nat) as e:
                for chunks, rest in (
                    (C[:3], " What?"),
                    ([C[0]], " What?"),
                    ([C[0]], ""),
                    (C[:2], ""),
                    (["a"], "b"),
                    (["", C[0], ""], "?"),
                    ([C[0], ""], ""),
                    ([""], ""),
                    ([C[1]] * 3, "?"),
                ):
                    for head in ((P,), ()):
                        for again in range(2):
                            o = await one(
                                e,
                                req(
                                    "prefill",
                                    (None, *head, *map(Chunk, chunks), *([rest] if rest else [])),
                                    fusion=plan,
                                ),
                            )
                            flag = ""
                            if isinstance(o, Result):
                                u = o.usage
                                if (
                                    again
                                    and u.prefill_tokens + u.cached_tokens + u.fused_tokens
                                    != o.outputs[0].num_tokens - 1
                                ):
                                    flag = "SUM"
                                if min(u.prefill_tokens, u.cached_tokens, u.fused_tokens) < 0:
                                    flag += " NEG"
                            else:
                                flag = "ERR"
                            print(plan, len(chunks), repr(rest), bool(head), again, show(o), flag)

    asyncio.run(main())


def test_bad(nat):
    async def main():
        async with running(nat) as e:
            good = req("prefill", (None, P, Chunk(C[0]), Chunk(C[1]), "?"), fusion="reuse")
            print(show(await one(e, good)))
            for name, inputs in {
                "no inputs": (),
                "chunk first": (Chunk(C[0]), "x"),
                "only chunk": (Chunk(C[0]),),
                "str first": ("abc", Chunk(C[0])),
                "list part": (None, ["a"], Chunk(C[0])),
                "list part after": (None, Chunk(C[0]), ["a"]),
                "dict first": ({}, P, Chunk(C[0])),
                "int": (5, Chunk(C[0])),
                "none part": (None, None, Chunk(C[0])),
            }.items():
                for op in ("prefill", "encode"):
                    r = req(op, inputs, **({"fusion": "reuse"} if op == "prefill" else {}))
                    print(name, op, show(await one(e, r)))
            for attrs in (
                {"cache_salt": ["x"]},
                {"cache_salt": 5},
                {"stage": "x"},
                {"stage": None},
                {"adapter": ["x"]},
                {"adapter": "nope"},
                {"tools": 5},
                {"temperature": 1},
                {"cache_salt": "x" * 5000},
            ):
                for op in ("prefill", "encode"):
                    r = req(
                        op,
                        (None, P, Chunk(C[0]), Chunk(C[1]), "?"),
                        **({"fusion": "reuse"} if op == "prefill" else {}),
                        **attrs,
                    )
                    print(attrs if len(str(attrs)) < 100 else "..", op, show(await one(e, r)))
            for plan in (
                "",
                "+",
                "lego",
                "lego()",
                "lego(-1)",
                "lego(1e9)",
                "lego(99999999)",
                "lego(0.5)",
                "query(nan)",
                "query(inf)",
                "query(-0.1)",
                "query(1.5)",
                "query(.)",
                "query(1.)",
                "query(.5)",
                "query(0.5,first=-3)",
                "query(0.5,,)",
                "query(,0.5)",
                "query(0.5,ratio=0.4)",
                "query(ratio=0.4,ratio=0.5)",
                "blend(0.1,v=1)",
                "blend(0.1,v=True)",
                "reuse(1)",
                "reuse()",
                "nope(1)",
                "query(0.15)+nope",
                "query(0.15)+first",
                "query(0.15)+first(-1)",
                "query(0.15)+first(1.5)",
                "query(0.15)+",
                "focus(2)+first(2)",
                "focus(2)+alone",
                "exact(1)",
                "x" * 10_000_000,
                "lego(4)+" + "first(1)+" * 20 + "alone",
                5,
                None,
                ["lego(4)"],
                {"a": "x" * 1000000},
                True,
                "lego(٣)",
                "LEGO(3)",
                "lego(3)\n",
                "lego(3);x",
                "__class__",
                "auto",
                "alone",
                "lego(3)+alone+alone",
                "random(0.3,seed=9999999)",
            ):
                r = req("prefill", (None, P, Chunk(C[0]), Chunk(C[1]), "?"), fusion=plan)
                print(repr(plan)[:60], show(await one(e, r), 150))
                r = req("encode", (None, P, Chunk(C[0]), Chunk(C[1]), "?"), fusion=plan)
                print("   enc", show(await one(e, r), 100))

    asyncio.run(main())


def test_close_between(nat):
    async def main():
        for delay in range(0, 60, 2):
            core = nat.driver(stops=False, token_budget=16).core
            e = LLMEngine("tiny", 8, lambda: core)
            await e.start()
            t = asyncio.create_task(
                one(e, req("prefill", (None, P, *map(Chunk, C), "?"), fusion="gradual(0.2)"))
            )
            await asyncio.sleep(delay / 1000)
            await e.close()
            print(delay, show(await t, 120))
            core.check_integrity()

    asyncio.run(main())
