"""The optional packages: what each extra of teola adds, and whether it is here."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

_EXTRAS = {
    "local": ("torch", "tokenizers", "safetensors", "gguf", "llguidance"),
    "documents": ("bm25s", "semantic-text-splitter", "pypdf", "beautifulsoup4"),
    "remote": ("tokenizers", "gguf", "huggingface_hub"),
    "onnx": ("onnxruntime", "tokenizers"),
    "serve": ("starlette", "uvicorn", "prometheus-client", "httptools"),
    "mcp": ("mcp", "uvicorn"),
    "http2": ("h2",),
    "otel": (
        "opentelemetry-api",
        "opentelemetry-sdk",
        "opentelemetry-exporter-otlp-proto-http",
    ),
    "kv-events": ("pyzmq", "msgspec"),
    "postgres": ("psycopg", "bm25s"),
    "qdrant": ("qdrant-client", "bm25s"),
    "vllm": ("vllm",),
    "sglang": ("sglang",),
}


@dataclass(frozen=True, slots=True)
class Extra:
    name: str  # `pip install "teola[NAME]"`
    versions: dict[str, str]  # of those of its packages that are here
    missing: list[str]


def read_extras() -> list[Extra]:
    """All extras."""
    return [_read(name, packages) for name, packages in _EXTRAS.items()]


def _read(name: str, packages: tuple[str, ...]) -> Extra:
    found = {package: _version(package) for package in packages}
    versions = {package: number for package, number in found.items() if number is not None}
    return Extra(name, versions, [package for package in packages if package not in versions])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
