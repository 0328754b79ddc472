"""Where this repository's packages are, for processes that a test starts with an environment of their own."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SOURCES = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "service", REPOSITORY / "training")))
"""The value of `PYTHONPATH`."""
