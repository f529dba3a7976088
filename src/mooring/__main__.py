"""`python -m mooring`."""

from mooring.cli.main import app

app()
