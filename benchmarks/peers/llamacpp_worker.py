"""llama.cpp's server as a benchmark worker: python llamacpp_worker.py LLAMA_SERVER MODEL.gguf."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

SLOTS = 32


def main(server: str, model: str) -> None:
    began = time.perf_counter()
    port = free_port()
    options = {
        "-m": model,
        "--port": port,
        "-t": len(os.sched_getaffinity(0)),
        "-np": SLOTS,
        "-c": SLOTS * 2304,
        "-b": 2048,
    }
    command = [server, *(str(part) for pair in options.items() for part in pair), "--no-webui"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        serve(process, port, began)
    finally:
        process.terminate()
        process.wait(20)


def serve(process: subprocess.Popen[bytes], port: int, began: float) -> None:
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False)
    while not is_ready(client):
        if process.poll() is not None:
            raise SystemExit(f"llama-server ended with {process.returncode}")
        time.sleep(0.02)
    say(load_s=time.perf_counter() - began)
    with ThreadPoolExecutor(SLOTS) as threads:
        for line in sys.stdin:
            asked = json.loads(line)
            bodies = [
                {
                    "prompt": ids,
                    "n_predict": asked["new"],
                    "temperature": 0,
                    "ignore_eos": True,
                    "cache_prompt": True,
                }
                for ids in asked["prompts"]
            ]
            began = time.perf_counter()
            counts = list(threads.map(lambda body: complete(client, body), bodies))
            seconds = time.perf_counter() - began
            say(s=seconds, tokens=sum(counts), peak_rss_mb=peak_mb(process.pid))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def complete(client: httpx.Client, body: dict[str, object]) -> int:
    answer = client.post("/completion", json=body)
    answer.raise_for_status()
    return int(answer.json()["tokens_predicted"])


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def say(**fields: object) -> None:
    print("@" + json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
