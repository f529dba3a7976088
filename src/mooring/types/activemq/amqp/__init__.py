"""
AMQP 1.0, as far as publishing and receiving need it.

`codec` knows how values are written, `frames` what peers say to each other, `connection` keeps a connection with one
session, `links` are what transfers go over, and `session` publishes and receives.
"""
