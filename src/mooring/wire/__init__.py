"""All that crosses a process line: bodies between clients and the control plane, frames between it and workers."""
