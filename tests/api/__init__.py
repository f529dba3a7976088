"""The HTTP door, from outside."""
