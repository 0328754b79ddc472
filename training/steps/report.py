"""`report`: what the run made, in one HTML file that a person opens in a browser, without a network."""

from collections.abc import Sequence
from pathlib import Path

from llmemb.files import write_text_atomically
from training.config import Config
from training.report import gather, render
from training.runs.run_folder import RunFolder

PAGE_FILE = "index.html"


def run(config: Config, folder: RunFolder, steps: Sequence[str], output: Path) -> str:
    """Write `output/index.html`; return the summary line.

    Args:
        config: of the run.
        folder: the run's, whose steps up to `evaluate` are done.
        steps: their names, in the order they ran.
        output: the step's folder.
    """
    page = output / PAGE_FILE
    write_text_atomically(page, render(gather(config, folder, steps)))
    return f"{page}, {page.stat().st_size / 2**20:.1f} MiB"
