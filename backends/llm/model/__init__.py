"""The model of a step: `config` and `weights` from GGUF or safetensors, `batch` and `batch_builder`
lay a ragged step out, `step_model` is the interface; `native` computes it in C++ on CPUs,
`torch_model` in torch.
"""
