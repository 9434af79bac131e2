"""Private helpers of the packages above."""
