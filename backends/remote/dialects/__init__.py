"""How each API writes a request and reads its answer."""
