"""
The real servers that live tests talk to, on loopback, with throw-away data.

``python -m tools.services start`` from the repository root installs what is
missing, starts every server of `tools.services.servers` in parallel and writes
where they are to ``.services/state.json``; tests read that file through
`tests.support.services`. A second ``start`` keeps the servers that still
answer and starts the others afresh, so it may be run before every test run.
"""
