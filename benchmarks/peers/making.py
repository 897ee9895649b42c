"""The engines that teola is compared with: each made once under a folder, then a worker process.

`isa` limits a peer to the instructions of one of teola's sets, as far as it lets itself be limited:
llama.cpp is compiled for that set; OpenVINO and vLLM hear oneDNN's and torch's own variables, and
what they compiled for themselves still picks by the CPU (named in `LIMITS`).
"""

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

from backends.models.fetch import locate
from benchmarks.engine_rows import Worker
from teola.launching.environments import environment_of, install

HERE = Path(__file__).parent
OPENVINO = "openvino-genai==2026.4.1.0"
LLAMACPP = "llama-cpp-python==0.3.36"
LIMITS = {
    "openvino": "ONEDNN_MAX_CPU_ISA; its paged attention picks by the CPU",
    "vllm": "ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY; its own kernels pick by the CPU",
    "llamacpp": "compiled for the set",
    "llamacpp-q4_0": "compiled for the set",
}
_ONEDNN = {"avx2": "AVX2", "avxvnni": "AVX2_VNNI", "avx512": "AVX512_CORE"}
_ATEN = {"avx2": "avx2", "avxvnni": "avx2", "avx512": "avx512"}
_GGML_AVX2 = ("GGML_NATIVE=OFF", "GGML_AVX=ON", "GGML_AVX2=ON", "GGML_FMA=ON", "GGML_F16C=ON")
_GGML: dict[str | None, tuple[str, ...]] = {
    None: ("GGML_NATIVE=ON",),
    "avx2": _GGML_AVX2,
    "avxvnni": (*_GGML_AVX2, "GGML_AVX_VNNI=ON"),
    "avx512": (*_GGML_AVX2, "GGML_AVX512=ON"),
}
console = Console()


def make_openvino(folder: Path, isa: str | None) -> Worker:
    python = _environment(folder / "openvino", [OPENVINO])
    script = str(HERE / "openvino_worker.py")
    return Worker("openvino", [python, script, str(locate("smollm2-135m"))], _limited(isa))


def make_vllm(folder: Path, isa: str | None) -> Worker:
    python = install(environment_of("vllm", is_cpu=True), console.print)
    model = folder / "smollm2-135m-bfloat16"
    if not (model / "tokenizer_config.json").exists():  # written last
        _export_bfloat16(locate("smollm2-135m"), model)
    env = {**_limited(isa), "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))  # it would keep one core free
    env["VLLM_CPU_OMP_THREADS_BIND"] = cores
    return Worker("vllm", [str(python), str(HERE / "vllm_worker.py"), str(model), "bfloat16"], env)


def make_llamacpp(folder: Path, isa: str | None) -> Worker:
    return _llamacpp("llamacpp", folder, isa, locate("smollm2-135m"))


def make_llamacpp_q4_0(folder: Path, isa: str | None) -> Worker:
    """With the weights in the format that llama.cpp repacks for this CPU."""
    model = folder / "smollm2-135m-q4_0.gguf"
    if not model.exists():
        _requantise_q4_0(locate("smollm2-135m"), model)
    return _llamacpp("llamacpp-q4_0", folder, isa, model)


MAKERS: dict[str, Callable[[Path, str | None], Worker]] = {
    "openvino": make_openvino,
    "vllm": make_vllm,
    "llamacpp": make_llamacpp,
    "llamacpp-q4_0": make_llamacpp_q4_0,
}


def _limited(isa: str | None) -> dict[str, str]:
    env = dict(os.environ)
    if isa is not None:
        env |= {"ONEDNN_MAX_CPU_ISA": _ONEDNN[isa], "ATEN_CPU_CAPABILITY": _ATEN[isa]}
    return env


def _llamacpp(name: str, folder: Path, isa: str | None, model: Path) -> Worker:
    build = folder / f"llamacpp/build-{isa or 'native'}"
    server = build / "bin/llama-server"
    if not server.exists():
        _build_llama_server(folder / "llamacpp", build, _GGML[isa])
    script = str(HERE / "llamacpp_worker.py")
    return Worker(name, [sys.executable, script, str(server), str(model)])


def _environment(folder: Path, packages: Sequence[str]) -> str:
    """The Python of a virtual environment with these packages."""
    python = folder / "bin/python"
    if not (folder / ".ready").exists():
        with console.status(f"installing {packages[0]} into {folder}"):
            venv.create(folder, with_pip=True, symlinks=True)
            pip = [str(python), "-m", "pip", "--quiet"]
            subprocess.run([*pip, "install", *packages], check=True)
        (folder / ".ready").touch()
    return str(python)


def _export_bfloat16(gguf: Path, folder: Path) -> None:
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


def _requantise_q4_0(source: Path, target: Path) -> None:
    """The GGUF with its Q4_1 tensors as Q4_0 (for timing: quality is not compared)."""
    import gguf
    from gguf.quants import dequantize, quantize

    reader = gguf.GGUFReader(source)
    making = target.with_suffix(".part")
    writer = gguf.GGUFWriter(making, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), kind, inner)
    kinds = gguf.GGMLQuantizationType
    for tensor in reader.tensors:
        rows, kind = tensor.data, tensor.tensor_type
        if kind == kinds.Q4_1:
            rows, kind = quantize(dequantize(rows, kind), kinds.Q4_0), kinds.Q4_0
        writer.add_tensor(tensor.name, rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    making.rename(target)


def _build_llama_server(folder: Path, build: Path, instructions: Sequence[str]) -> None:
    """From the sources inside llama-cpp-python's sdist."""
    options = ["CMAKE_BUILD_TYPE=Release", "LLAMA_CURL=OFF", "LLAMA_BUILD_TESTS=OFF"]
    options += ["LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=ON", *instructions]
    with console.status(f"compiling llama.cpp into {build} (minutes)"):
        defines = [f"-D{option}" for option in options]
        _quietly("cmake", "-B", str(build), "-S", str(_llama_sources(folder)), *defines)
        target = ("--target", "llama-server", "--parallel", str(os.cpu_count()))
        _quietly("cmake", "--build", str(build), *target)


def _llama_sources(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("llama_cpp_python-*/vendor/llama.cpp")):
        download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", *download, LLAMACPP], check=True)
        with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as sources:
            sources.extractall(folder, filter="data")
    return next(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))


def _quietly(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-800:]}")
