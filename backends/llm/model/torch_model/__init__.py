"""The forward pass in torch: CUDA, and CPUs without the kernels."""
