"""`report`: the results of the run in one HTML file, which a browser opens without a network."""

from collections.abc import Sequence
from pathlib import Path

from llmemb.files import write_text_atomically
from llmemb_training.config import Config
from llmemb_training.report import gather, render
from llmemb_training.runs.run_folder import RunFolder

PAGE_FILE = "index.html"


def run(config: Config, folder: RunFolder, steps: Sequence[str], output: Path) -> str:
    """Write `output/index.html`; return the summary line.

    Args:
        config: the configuration of the run.
        folder: the run folder; the steps up to `evaluate` are complete.
        steps: names of these steps, in execution order.
        output: the step's folder.
    """
    page = output / PAGE_FILE
    write_text_atomically(page, render(gather(config, folder, steps)))
    return f"{page}, {page.stat().st_size / 2**20:.1f} MiB"
