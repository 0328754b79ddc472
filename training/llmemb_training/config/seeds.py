"""Independent random streams for each purpose, derived from the one seed in the configuration."""

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed derived from the configuration's seed and the purpose."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def derive_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a NumPy generator with the derived seed."""
    return np.random.default_rng(derive_seed(seed, *purpose))
