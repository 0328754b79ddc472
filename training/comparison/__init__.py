"""Runs side by side: the paper's table, the ablation, and `llmemb runs`."""
