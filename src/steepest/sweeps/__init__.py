"""Sweeps: what their jobs mean, which are done, and what the others will cost."""
