"""OpenTelemetry: the spans of queries, by the GenAI conventions, live and from trace files."""
