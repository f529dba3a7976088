"""Tools that have never heard of a connection; they could be lifted into another project."""
