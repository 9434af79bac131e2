"""Worked examples for hosts; each file runs by itself: `python3 -m examples.response_cache`."""
