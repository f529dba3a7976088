"""For programs that talk to a control plane: clients, and `attach`, a worker inside your process."""
