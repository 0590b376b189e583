"""Measures of what a task brings about, where torchmetrics has none."""
