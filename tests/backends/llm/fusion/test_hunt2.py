import asyncio, random, os, time
import pytest
from backends.base import Chunk, Request, Result, Turn, Tokens
from backends.errors import EngineError, RequestTooLong
import backends.llm.fusion.fused_prefill as fp

PLANS = ("exact","reuse","lego(4)","lego(99)","query(0.15)","query(0.3,end=2)","blend(0.15)","blend(0.2,v=true)","gradual(0.2)","random(0.3)","focus(2)","focus(2,sort=true)","query(0.15)+first(3)","reuse+alone","lego(4)+alone","query(0.15)+alone","blend(0.15)+alone","exact+alone")
P = ["Read this. ", "Look at these passages and then answer well: ", ""]
C = [f"Passage {i} tells of {i} ships in a storm." for i in range(10)] + ["", "a", "xy" * 30]

@pytest.fixture(scope="module")
def nat(load_tiny):
    return load_tiny(head_dim=16, num_hidden_layers=4).moved(kernels="native")

async def soak(driver, both, rng, n, tight, lone):
    live = []; pending = set(); contexts = []
    stats = dict(ok=0, err=0, aborted=0, cancelled=0, cmp=0, fused=0)
    num = 0
    errs = {}
    async def run(req, is_fused, key):
        try:
            if is_fused: out = await both._fuser.prefill(req)
            else: out = await both._execute(req)
        except asyncio.CancelledError:
            stats["cancelled"] += 1
            driver.core.abort(req.id)
            raise
        if isinstance(out, Result):
            stats["ok"] += 1
            ctx = out.outputs[0]
            u = out.usage
            assert min(u.prefill_tokens, u.cached_tokens, u.fused_tokens) >= 0, (u, req.attrs)
            if is_fused: stats["fused"] += u.fused_tokens
            # decode
            attrs = {"max_tokens": rng.choice([1, 5, 12]), "ignore_eos": True}
            if rng.random() < .3: attrs |= {"logprobs": 2}
            if rng.random() < .2: attrs |= {"n": 2, "temperature": .7, "seed": 4}
            if rng.random() < .2: attrs = {"max_tokens": 30, "choices": ["one", "two ships", "none"]}
            d = both.plain("decode", ctx, **attrs)
            try:
                o2 = await both._execute(d)
            except asyncio.CancelledError:
                driver.core.abort(d.id); raise
            if isinstance(o2, Result):
                if key is not None or not tight:
                    got = [list(c.ids) for c in (o2.outputs[1] if isinstance(o2.outputs[1], list) else [o2.outputs[1]])]
                    if lone is not None and (key is not None or lone == "all"):
                        stats["cmp"] += 1
                        results.append((req, attrs, got, key))
                contexts.append(ctx)
                if not isinstance(o2.outputs[1], list): contexts.append(o2.outputs[1])
            else:
                errs[str(o2)[:60]] = errs.get(str(o2)[:60], 0) + 1
            if len(contexts) > 6:
                contexts.pop(rng.randrange(len(contexts))).release()
        else:
            stats["err"] += 1
            errs[str(out)[:60]] = errs.get(str(out)[:60], 0) + 1
    results = []
    while num < n or pending:
        if num < n and len(pending) < 6:
            num += 1
            is_fused = rng.random() < .7
            k = rng.choice([1, 2, 3, 3, 4])
            chunks = [rng.choice(C) for _ in range(k)]
            pre = rng.choice(P)
            key = None
            if is_fused:
                first = (None, pre) if pre else (None,)
                if tight and contexts and rng.random() < .2:
                    first = (rng.choice(contexts),)
                parts = []
                for c in chunks:
                    parts.append(Chunk(c))
                    if rng.random() < .3: parts.append(" -- ")
                if rng.random() < .9: parts.append(f" {rng.randrange(5)}?")
                req = both.plain("prefill", *first, *parts, fusion=rng.choice(PLANS))
                if not tight: req.attrs = {**req.attrs, "cache_salt": req.attrs["fusion"]}
                elif rng.random() < .15: req.attrs = {**req.attrs, "cache_salt": rng.choice("ab")} if first[0] is None else req.attrs
            else:
                text = ("" if tight else "#") + pre + "".join(chunks) + "?"
                req = both.plain("prefill", None, text)
                key = text
            t = asyncio.ensure_future(run(req, is_fused, key))
            t.req = req
            pending.add(t); t.add_done_callback(pending.discard)
        await asyncio.sleep(0)
        if tight and pending and rng.random() < float(os.environ.get('AB', '.1')):
            t = rng.choice(sorted(pending, key=lambda t: t.req.id))
            if rng.random() < .5:
                stats["aborted"] += 1; both.abort(t.req.id)
            else: t.cancel()
        if tight and rng.random() < .02:
            both._fuser.forget(); driver.core.flush()
        for t in list(pending):
            if t.done() and not t.cancelled() and t.exception(): raise t.exception()
    while contexts: contexts.pop().release()
    both._fuser.forget()
    driver.outcomes.clear()
    driver.core.pins.free_released()
    return stats, errs, results

@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "3"))))
@pytest.mark.parametrize("tight", [True, False])
def test_soak(nat, fused, seed, tight, monkeypatch, tmp_path):
    monkeypatch.setattr(fp, "_KEPT_PREFIXES", 2)
    rng = random.Random(seed)
    options = dict(kv_tokens=rng.choice([480, 640, 900]), token_budget=rng.choice([16, 48, 256])) if tight else dict(kv_tokens=60000, token_budget=rng.choice([16, 48, 256]))
    if tight and seed % 3 == 1: options["host_kv_tokens"] = 512
    if tight and seed % 3 == 2: options["disk_kv"] = str(tmp_path)
    if seed % 2: options["speculation"] = "ngram"
    driver = nat.driver(stops=False, **options)
    both = fused(driver)
    t0 = time.time()
    stats, errs, results = asyncio.run(soak(driver, both, rng, 150, tight, "all" if not tight else "plain"))
    print(seed, tight, options, stats, errs, f"{time.time()-t0:.1f}s")
    driver.core.check_integrity()
    driver.core.flush()
    driver.core.check_integrity()
    print("free", driver.core.cache.pool.num_free, driver.core.cache.pool.num_pages, "preempt", driver.core.planner.num_preemptions)
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages
    # compare with lone
    bad = 0
    for req, attrs, got, key in results[::1 if not tight else 1]:
        d = nat.driver(stops=False, kv_tokens=4096)
        f = fused(d)
        if key is not None: ctx = d.prefill(None, key)
        else:
            (o,) = f.run(Request("e"*32, "prefill", req.inputs, req.attrs))
            ctx = o.outputs[0]
        o2 = d.decode(ctx, **attrs)
        exp = [list(c.ids) for c in (o2.outputs[1] if isinstance(o2.outputs[1], list) else [o2.outputs[1]])]
        if exp != got:
            bad += 1
            if bad < 5: print("DIFF", req.inputs, req.attrs, attrs, "\n", exp[0][-12:], got[0][-12:], len(exp[0]), len(got[0]))
    print("bad", bad, len(results))
    assert not bad
    if driver.core.transfer: driver.core.close()
