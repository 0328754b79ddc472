"""What a person sees of a run: a bar with rate and time left, and one line for each step."""

import sys
from typing import NoReturn

from tqdm import tqdm


def bar(step: str, unit: str, total: int) -> "tqdm[NoReturn]":
    """Return a bar on stderr, silent where stderr is no terminal."""
    return tqdm(
        total=total,
        desc=f"{step:<10}",
        unit=unit,
        dynamic_ncols=True,
        leave=False,
        disable=not sys.stderr.isatty(),
    )


def say(step: str, line: str) -> None:
    """Print one line of a step."""
    tqdm.write(f"{step:<10}{line}", file=sys.stdout)
    sys.stdout.flush()
