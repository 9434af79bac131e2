"""Layers that prepare a request (correlation id, encoding, idempotency key, credentials) and decode its response."""
