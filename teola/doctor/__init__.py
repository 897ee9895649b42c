"""What `teola doctor` looks at: this machine, its kernels, models and caches."""
