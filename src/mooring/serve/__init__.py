"""
Putting the parts together: the only place where they are built and handed to one another.

`control_plane` is a node, `worker` a worker, `dev` both, for one machine; `offline` has what is done to a data
directory without a node.
"""

from mooring.serve.development import DEV_ENVIRONMENT, DEV_PROJECT, dev
from mooring.serve.node import Started, control_plane
from mooring.serve.offline import check_audit, rewrap
from mooring.serve.opening import opened_plane
from mooring.serve.server import run
from mooring.serve.workers import WorkerOptions, worker

__all__ = [
    "DEV_ENVIRONMENT", "DEV_PROJECT", "Started", "WorkerOptions", "check_audit", "control_plane", "dev", "opened_plane",
    "rewrap", "run", "worker",
]  # fmt: skip
