"""One seed in the configuration, one independent stream for each purpose."""

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed that depends on the configuration's seed and on what it is for."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def derive_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return NumPy's generator on the derived seed."""
    return np.random.default_rng(derive_seed(seed, *purpose))
