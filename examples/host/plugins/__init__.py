"""One plugin per service; each module has `execute(data)` and returns an object, never raises."""
