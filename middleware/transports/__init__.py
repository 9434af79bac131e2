"""The end of the stack: transports over HTTP libraries, and what they share."""
