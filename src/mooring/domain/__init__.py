"""The nouns, and rules that need no I/O."""
