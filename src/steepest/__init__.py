"""Steepest: which optimizer, schedule, batch size and precision to train a network with, answered by experiments."""
