"""How well the map of the catalogue keeps neighbours, by t-SNE and by PCA: `python -m benchmarks.item_map BUNDLE ...`.

`sklearn.manifold.trustworthiness` of 10 neighbours by cosine; 1 is best. Later items are imitated: every fifth item is
left out of t-SNE and placed near its neighbours.
"""

import argparse
import sys
import time
from pathlib import Path

from sklearn.manifold import trustworthiness

from llmemb.bundle import read_bundle
from llmemb.index import Array
from llmemb.item_map import NEIGHBOURS, laid_out_rows, pca_positions
from llmemb_training.steps.bundle import lay_out_items


def measure(embeddings: Array) -> str:
    """Lay out item embeddings `(N, d)`; return a row of the table."""
    start = time.perf_counter()
    laid_out = lay_out_items(embeddings)
    seconds = time.perf_counter() - start
    later = lay_out_items(embeddings, max_laid_out=len(laid_out_rows(len(embeddings))) * 4 // 5)
    figures = (
        trustworthiness(embeddings, each, n_neighbors=NEIGHBOURS, metric="cosine")
        for each in (pca_positions(embeddings), laid_out, later)
    )
    return f"| {len(embeddings):,} | {' | '.join(f'{figure:.3f}' for figure in figures)} | {seconds:.0f} s |"


def main() -> None:
    """Measure each bundle that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="a bundle's folder")
    sys.stdout.write("| items | PCA | t-SNE | a fifth placed later | time |\n|---|---|---|---|---|\n")
    for folder in parser.parse_args().bundles:
        sys.stdout.write(measure(read_bundle(folder).item_embeddings) + "\n")


if __name__ == "__main__":
    main()
