"""Sealing secrets at rest: a master key wraps data keys, a data key seals values. See `envelope` and `keys`."""
