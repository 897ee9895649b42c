"""C++ kernels for CPUs: built once or taken from a wheel, loaded, and fed with packed weights."""
