"""Decides and remembers. Knows no HTTP: `mooring.api` is the door. `plane.Plane` is the whole of it."""
