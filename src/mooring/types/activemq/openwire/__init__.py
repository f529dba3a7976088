"""
OpenWire, version 12, as far as publishing and receiving need it: loose encoding, no caches.

`marshal` knows how values are written, `commands` what brokers and clients say to each other, `connection` keeps a
connection, and `session` publishes and receives over it.
"""
