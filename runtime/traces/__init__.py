"""Trace files: the format, the model of a trace, and its views."""
