"""Comparison of runs: the paper's table, the ablation study, and `llmemb runs`."""
