"""The run store: what each primitive of a run gave, on disk; a run goes on after a crash."""
