"""What lives as long as the process, kept out of garbage collections, which would stop requests to look through it.

Libraries and bundle are some hundred thousand objects: a full collection among them takes a fifth of a second.
"""

import gc


def settle() -> None:
    """Collect what is garbage, and leave all the rest out of later collections; takes a moment, so call it seldom."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
