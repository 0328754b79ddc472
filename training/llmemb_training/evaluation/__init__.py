"""Ranking of test targets, metrics with confidence intervals and significance tests, and the untrained baselines."""
