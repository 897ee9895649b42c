"""The forward pass as one C++ call a step."""
