"""Optimizers: each a rule in a file of its own."""
