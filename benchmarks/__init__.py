"""Benchmarks, fault and load scripts; each is a command of its own."""
