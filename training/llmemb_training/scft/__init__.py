"""Supervised contrastive fine-tuning: an encoder folder and texts -> a tuned encoder (paper, section 3.2)."""
