"""Private helpers of the `middleware` package."""
