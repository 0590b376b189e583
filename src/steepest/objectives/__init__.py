"""Analytic functions with known minima and constants: the data sets of the task `objective`. One file a function."""
