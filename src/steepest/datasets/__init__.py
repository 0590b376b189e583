"""Data sets: one file per source, one yaml per data set, and the loader that they share."""
