"""The HTTP libraries under the stack, and what they share."""
