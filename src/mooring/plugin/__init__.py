"""
What a connection type must be: small and stable, for authors inside and outside this house.

A type is one folder: a name card (`card.ConnectionType`), a model (`config.ConnectionConfig`), and a connector
(`connector.Connector`). `conformance` is the suite that any type inherits.
"""
