"""What limits, repeats, delays or rejects a call and its attempts."""
