"""Apps under load on a virtual clock: `teola simulate`. The runtime, its policies and the planner
of the engines are the real ones; only the devices are emulated."""
