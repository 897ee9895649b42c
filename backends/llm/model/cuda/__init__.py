"""The forward pass on CUDA: Triton kernels over paged KV, a page table and step arrays that stay on
the device, and captured graphs for steps of decodes alone.

Triton's interpreter runs the kernels on CPU tensors too (TRITON_INTERPRET=1), for tests.
"""
