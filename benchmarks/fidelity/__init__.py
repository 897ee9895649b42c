"""How true simulated figures are, measured on this machine."""
