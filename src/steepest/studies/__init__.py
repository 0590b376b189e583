"""Claims that run: plans, statistics and verdicts."""
