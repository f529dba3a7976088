"""Where things are kept: the interface and its promises in `base`, one module per database."""
