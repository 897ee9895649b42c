"""Loads model files that are damaged in a thousand ways, each in a process of its own.

Each must be refused with a typed error that names the file, or load and run: no crash, no hang, no
allocation beyond a bound, no other exception. The last line is one JSON object.

    python tests/backends/fuzz_model_files.py --cases 1000 [--seed 0] [--gguf real.gguf]
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1]), str(HERE.parent)]

import conftest as tiny_models  # noqa: E402
import tiny_bert  # noqa: E402
import tiny_gguf  # noqa: E402
import torch  # noqa: E402

from backends.base import Request  # noqa: E402
from backends.bert.options import BertOptions  # noqa: E402
from backends.embedder.factory import load_embedder  # noqa: E402
from backends.errors import ConfigError, EngineError, EngineUnavailable  # noqa: E402
from backends.llm.loader import load_core, open_model  # noqa: E402
from backends.llm.options import LLMOptions  # noqa: E402
from backends.native.library import library  # noqa: E402

MEMORY = 3 << 30  # bytes of address space beyond what the process has
TIME_S = 60
OPTIONS = LLMOptions(kv_tokens=256, threads=1)
WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 2**31, 2**63, 10**30, -(2**40), 0.5, 1e308, float("nan")),
    *(float("inf"), "", "x", "\ud800", "../../etc/passwd", [], {}, [[]], {"a": 1}, ["x"] * 1000),
)


class Outcome(NamedTuple):
    kind: str  # loaded, refused; or what must not be: untyped, unnamed, crashed, hung
    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """A file to damage, and how to load what it belongs to."""

    name: str
    file: Path
    load: Callable[[], None]
    first_bytes: int | None = None  # damage is done there: a header


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    library()  # compiled before memory is bounded
    rng = random.Random(args.seed)
    counts: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        targets = make_targets(Path(folder), args.gguf)
        for target in targets:
            outcome = in_child(target)
            assert outcome.kind == "loaded", f"{target.name}, undamaged: {outcome}"
        for number in range(args.cases):
            target = targets[number % len(targets)]
            what, outcome = run_case(target, rng)
            counts[target.name, outcome.kind] += 1
            if outcome.kind not in ("loaded", "refused"):
                bad.append(f"{number} {target.name} {what}: {outcome.kind}: {outcome.text}")
                print(bad[-1], flush=True)
            elif args.verbose:
                print(number, target.name, what, outcome.kind, outcome.text[:200], flush=True)
    report(counts, len(bad), args.cases)
    sys.exit(bool(bad))


def report(counts: Counter[tuple[str, str]], num_bad: int, num_cases: int) -> None:
    for name in dict.fromkeys(name for name, _ in counts):
        row = {kind: number for (target, kind), number in counts.items() if target == name}
        print(f"{name:36}", ", ".join(f"{kind} {number}" for kind, number in sorted(row.items())))
    totals: Counter[str] = Counter()
    for (_, kind), number in counts.items():
        totals[kind] += number
    print(json.dumps({"cases": num_cases, "bad": num_bad, **totals}))


def run_case(target: Target, rng: random.Random) -> tuple[str, Outcome]:
    """Damage a file, load it, and mend it."""
    with target.file.open("rb") as file:
        before = file.read(target.first_bytes or -1)
    what, damaged = damage(target, before, rng)
    try:
        write(target, damaged)
        return what, in_child(target)
    finally:
        write(target, before)


def write(target: Target, content: bytes) -> None:
    """In place where only a header was read, so that a large file is not copied."""
    if target.first_bytes is None:
        target.file.write_bytes(content)
        return
    with target.file.open("r+b") as file:
        file.write(content)


def damage(target: Target, content: bytes, rng: random.Random) -> tuple[str, bytes]:
    if target.file.suffix == ".json" and rng.random() < 0.7:
        return damage_json(content, rng)
    ways = [flip_bits, set_bytes, set_number]
    if target.first_bytes is None:
        ways += [cut, repeat, leave_out]
    way = rng.choice(ways)
    return way.__name__, way(bytearray(content), rng)


def place(content: bytearray, rng: random.Random) -> int:
    """More often near the beginning, where sizes and counts are."""
    return min(len(content) - 1, int(len(content) * rng.random() ** rng.choice((1, 3, 8))))


def flip_bits(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 8, 64))):
        content[place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(content)


def set_bytes(content: bytearray, rng: random.Random) -> bytes:
    at, size = place(content, rng), rng.choice((1, 4, 8, 64))
    value = rng.choice((b"\x00", b"\xff", rng.randbytes(1)))
    new = (value * size)[: len(content) - at]
    content[at : at + len(new)] = new
    return bytes(content)


def set_number(content: bytearray, rng: random.Random) -> bytes:
    number = rng.choice((0, 1, 2**31 - 1, 2**32, 2**40, 2**62, 2**63, 2**64 - 1))
    at = min(place(content, rng) // 4 * 4, len(content) - 8)
    content[at : at + 8] = number.to_bytes(8, "little")
    return bytes(content)


def cut(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: place(content, rng)])


def repeat(content: bytearray, rng: random.Random) -> bytes:
    at, size = place(content, rng), rng.choice((1, 8, 100, 5000))
    return bytes(content[:at] + content[at : at + size] * rng.choice((2, 50)) + content[at:])


def leave_out(content: bytearray, rng: random.Random) -> bytes:
    at, size = place(content, rng), rng.choice((1, 8, 100))
    return bytes(content[:at] + content[at + size :])


def damage_json(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Another value, or none, somewhere in a JSON file."""
    whole = json.loads(content)
    holders = list(containers(whole))
    holder = rng.choice(holders[:40] if rng.random() < 0.7 else holders)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if not keys:
        return "nothing", content
    key = rng.choice(keys)
    value = rng.choice(WRONG)
    if rng.random() < 0.2:
        del holder[key]
        return f"without {key!r}", json.dumps(whole).encode()
    holder[key] = value
    return f"{key!r} = {str(value)[:20]!a}", json.dumps(whole).encode()


def containers(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        holder = waiting.pop(0)
        if isinstance(holder, dict | list):
            yield holder
            waiting += holder.values() if isinstance(holder, dict) else holder


def in_child(target: Target) -> Outcome:
    """Load in a process whose memory and time are bounded."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        told = json.dumps(attempt(target)).encode()
        os.write(writer, told[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Outcome("hung" if name in ("SIGALRM", "SIGXCPU") else "crashed", name)
    if os.WEXITSTATUS(status):
        return Outcome("crashed", f"exit status {os.WEXITSTATUS(status)}")
    return Outcome(*json.loads(told))


def attempt(target: Target) -> Outcome:
    bound_this_process()
    try:
        target.load()
    except (EngineUnavailable, ConfigError) as error:
        is_named = target.file.name in str(error) or target.file.parent.name in str(error)
        return Outcome("refused" if is_named else "unnamed", f"{type(error).__name__}: {error}")
    except BaseException:
        return Outcome("untyped", traceback.format_exc()[-1500:])
    return Outcome("loaded", "")


def bound_this_process() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_S, TIME_S))
    signal.alarm(5 * TIME_S)


def make_targets(root: Path, gguf: Path | None) -> list[Target]:
    plain, sharded = root / "plain", root / "sharded"
    plain.mkdir()
    tiny_models._save_tiny(plain, "llama", {"hidden_size": 64, "num_key_value_heads": 4})
    shutil.copytree(plain, sharded)
    (sharded / "model.safetensors").rename(sharded / "model-1.safetensors")
    names = {"weight_map": {"model.norm.weight": "model-1.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(names))
    small = root / "small.gguf"
    tiny_gguf.write_gguf(plain, small, "llama", open_model(plain).config, factors=True)
    targets = [
        *(Target(f"folder {name}", plain / name, lambda: run_llm(plain)) for name in FILES),
        Target("gguf", small, lambda: run_llm(small)),
        Target("gguf header", small, lambda: run_llm(small), first_bytes=12_000),
        Target("index", sharded / "model.safetensors.index.json", lambda: run_llm(sharded)),
        *adapter_targets(root, plain),
        *bert_targets(root),
    ]
    if gguf is not None:
        real = Path(shutil.copy(gguf, root / "real.gguf"))
        targets.append(Target("real gguf header", real, lambda: run_llm(real), _data_start(real)))
    return targets


FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


def _data_start(path: Path) -> int:
    from backends.llm.model.gguf_file import GGUFFile

    return GGUFFile(path)._data_start


def adapter_targets(root: Path, base: Path) -> list[Target]:
    import peft
    from transformers import AutoModelForCausalLM

    folder = root / "adapter"
    modules = ["q_proj", "down_proj"]
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=modules)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    peft.get_peft_model(model, config).save_pretrained(folder)

    def load() -> None:
        core = load_core(base, OPTIONS)
        core.load_adapter("a", folder)
        answer(core, adapter="a")

    files = ("adapter_config.json", "adapter_model.safetensors")
    return [Target(name, folder / name, load) for name in files]


def bert_targets(root: Path) -> list[Target]:
    import transformers

    folder = root / "bert"
    folder.mkdir()
    transformers.BertModel(transformers.BertConfig(**tiny_bert.SIZES)).save_pretrained(folder)
    tiny_bert.write_tokenizer(folder)

    def load() -> None:
        runner = load_embedder(folder, BertOptions(threads=1))
        request = Request("0" * 32, "embed", (["the cat sat", "on a mat"],))
        try:
            job = runner.read(request)
            job.finish(runner.compute(job.texts))
        except EngineError:
            pass  # the outcome of a request

    files = ("config.json", "tokenizer.json", "model.safetensors")
    return [Target(f"bert {name}", folder / name, load) for name in files]


def run_llm(path: Path) -> None:
    answer(load_core(path, OPTIONS))


def answer(core: Any, **attrs: Any) -> None:
    """A few tokens of a prompt; a request may fail, with a typed error."""
    request = Request("0" * 32, "decode", (None, "hello you"), {"max_tokens": 3, **attrs})
    try:
        core.add(request)
    except EngineError:
        return
    outcomes: list[Any] = []
    while core.has_work:
        outcomes += core.step()
    ((_, outcome),) = outcomes
    if isinstance(outcome, Exception) and not isinstance(outcome, EngineError):
        raise outcome


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gguf", type=Path, help="a real model, whose header is damaged too")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
