"""A bundle with as many items as one likes: those of another bundle, repeated with noise."""

import shutil
from pathlib import Path

import numpy as np

from llmemb.bundle import Bundle, BundleItems, write_bundle
from llmemb.index import Array, choose_spec
from llmemb.scoring.projection import unit_length
from llmemb.scoring.session import session_vectors

NOISE = 0.3
"""Of the spread of the vectors, so that no two items are the same."""
RECALL_SESSIONS = 500
HISTORY_ITEMS = 20


def write_large_bundle(bundle: Bundle, folder: Path, num_items: int, seed: int) -> Path:
    """Write a bundle of so many items, unless it is there already.

    Args:
        bundle: whose encoder, projection and sequence model it has, and whose items are repeated.
        folder: takes it.
        num_items: of the new catalogue, N.
        seed: of the noise, and of the histories on which its index is tuned.

    Returns:
        `folder`.
    """
    if (folder / "manifest.json").is_file():
        return folder
    random = np.random.default_rng(seed)
    rows = np.arange(num_items) % len(bundle.items.ids)

    semantic = noisy(bundle.semantic, num_items, random)
    residual = None if bundle.residual is None else bundle.residual[rows]
    profile = None if bundle.profile is None else unit_length(noisy(bundle.profile, num_items, random))
    ids = tuple(f"{bundle.items.ids[row]}-{place}" for place, row in enumerate(rows))
    recall_queries = sessions(bundle, RECALL_SESSIONS, random)
    manifest = bundle.manifest
    shutil.rmtree(folder, ignore_errors=True)
    write_bundle(
        folder,
        prompt=bundle.prompt,
        encoder_folder=bundle.folder / "encoder",
        encoder=manifest.encoder,
        projection=bundle.projection,
        sequence_model=bundle.sequence_model,
        items=BundleItems(
            ids=ids,
            attributes_json=tuple(bundle.items.attributes_json[row] for row in rows),
            popularity=bundle.items.popularity[rows],
        ),
        semantic=semantic,
        residual=residual,
        scoring=manifest.scoring,
        semantic_term=bundle.semantic_term,
        profile=profile,
        successors=None if bundle.successors is None else bundle.successors[rows],
        metrics=(),
        selection=(),
        seed=seed,
        provenance=manifest.provenance,
        index=choose_spec(num_items),
        recall_queries=recall_queries,
        categories_attribute=manifest.categories_attribute,
    )
    return folder


def sessions(bundle: Bundle, number: int, random: np.random.Generator) -> Array:
    """Return the session vectors `(number, D)` of histories drawn from the bundle's items."""
    vectors = bundle.item_vectors
    drawn = [random.integers(0, len(vectors), HISTORY_ITEMS) for _ in range(number)]
    histories = [bundle.history_vectors(vectors[rows], rows) for rows in drawn]
    return session_vectors(bundle.sequence_model, histories, bundle.semantic_term)


def noisy(table: Array, num_items: int, random: np.random.Generator) -> Array:
    """Repeat the rows of a table `(n, D)` until there are `(num_items, D)`, each moved a little."""
    noise = random.standard_normal((num_items, table.shape[1]), dtype=np.float32)
    noise *= np.float32(NOISE * table.std())
    noise += table[np.arange(num_items) % len(table)]
    return noise
