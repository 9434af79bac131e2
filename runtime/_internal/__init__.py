"""Private helpers of the packages of `runtime`; standard library alone."""
