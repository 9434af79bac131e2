"""
Stand-in for the production core, as far as the adapter touches it: names, signatures, models and the incumbent client.

Written from the description of the core's hooks and of its client's behaviour, before the adapter; no code of the core
is in it. Where the description says nothing, the stand-in has what the core's own routes and tests can live with, and
says so.
"""
