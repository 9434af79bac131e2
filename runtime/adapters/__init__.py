"""Adapters that put the connectors in the place of what a host has; each is imported by the host that wants it."""
