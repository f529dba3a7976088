"""Runs elsewhere, with no database and no master key: holds live connectors and performs operations."""
