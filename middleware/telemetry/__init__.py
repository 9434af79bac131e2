"""Spans, metrics and log lines of calls and attempts."""
