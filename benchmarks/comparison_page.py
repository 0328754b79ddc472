"""Generate `docs/comparison.md` from the results: `python -m benchmarks.comparison_page > docs/comparison.md`."""

import re
import sys

from benchmarks.results import REPOSITORY, aims, read_all, render

EXPERIMENTS = REPOSITORY / "docs" / "experiments.md"
TABLES = {
    "Amazon Scientific, three seeds": "### Scientific, `make eval-seeds`",
    "Amazon Beauty, three seeds": "### Beauty, `make eval-seeds CATALOGUE=beauty`",
    "The same, all baselines, as it was before": "### Beauty, `make eval-beauty`, seed 42",
}
"""Title on this page -> heading in docs/experiments.md, whose first table is used."""

_HEAD = """# Beside others

Made by `python -m benchmarks.comparison_page` from `benchmarks/results/` and the experiments; do not edit.

All figures are our own measurements, ours and the peer in turns in one run on one machine. What is behind is here as
well as what is ahead. A ratio is ours by the peer's; whether more or less is better, its aim says.

## What is recommended

The last item of each history, ranked among all items; [Experiments](experiments.md) has how it was measured, and what
was missed. `vanilla` is SASRec on ids with full softmax, `vanilla_bce` the same with one negative, as the paper's is;
`llm_init` begins with the LLM's vectors; `semantic_knn` goes by text alone.
"""


def comparison_page() -> str:
    """Return the whole page."""
    experiments = EXPERIMENTS.read_text(encoding="utf-8")
    tables = (f"### {title}\n\n{table_under(heading, experiments)}" for title, heading in TABLES.items())
    benchmarks = (render(results).replace("# ", "## ", 1) for results in read_all())
    return "\n".join([_HEAD, *tables, "## What was aimed at\n", *aims(read_all()), "", *benchmarks])


def table_under(heading: str, page: str) -> str:
    """Return the first table under a heading of a page.

    Raises:
        ValueError: the heading does not exist, or has no table.
    """
    found = re.search(rf"^{re.escape(heading)}$(?s:.*?)\n\n((?:\|.*\n)+)", page, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"no table under {heading!r}")
    return found[1]


if __name__ == "__main__":
    sys.stdout.write(comparison_page())
