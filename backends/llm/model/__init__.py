"""The model of a step: `config` and `weights` from GGUF or safetensors, `batch` lays a ragged step
out, `step_model` is the interface; `native` computes it in C++ on CPUs, `torch_model` in torch,
`cuda` in Triton.
"""
