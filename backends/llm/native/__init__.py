"""The engine's forward pass as one C++ call a step, for CPUs with AVX-512.

Built once with the machine's own compiler and kept in the user's cache; without a compiler or on
another CPU the torch model (`backends.llm.model`) runs instead and gives the same tokens.
"""
