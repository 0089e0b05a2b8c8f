"""A new part of each kind in a file of its own, as docs/extending.md explains."""
