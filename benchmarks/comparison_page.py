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

All figures are our own measurements; LLMEmb and the peer alternate in one run on one machine. Results where LLMEmb is
behind are included. A ratio is LLMEmb's figure divided by the peer's; its aim states whether more or less is better.

## What is recommended

The last item of each history is ranked among all items; [Experiments](experiments.md) describes the method and the
missed aims. `vanilla` is SASRec on ids with full softmax, `vanilla_bce` the same with one negative, as in the paper;
`llm_init` starts from the LLM's vectors; `semantic_knn` uses text alone.
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
