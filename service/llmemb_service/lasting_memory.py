"""Keep long-lived objects out of garbage collections, which block requests while they scan all objects.

The libraries and a bundle have some hundred thousand objects, and a full collection of them takes a fifth of a second.
"""

import gc


def freeze() -> None:
    """Collect garbage and exclude all other objects from later collections. It is slow, so call it rarely."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
