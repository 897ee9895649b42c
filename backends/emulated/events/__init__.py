"""An emulated LLM that jumps from event to event: `detail=events`. Letters: n sequences that
decode, K keys that they attend to together."""
