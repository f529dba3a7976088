"""Doubles and helpers for tests of anything that uses or extends Mooring; shipped."""
