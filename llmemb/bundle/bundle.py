"""A bundle in memory.

`N` items; `h` is the LLM's width, `d` the recommender's width, `q` the semantic term's, `D = d + q`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle.manifest import Manifest
from llmemb.encoder.prompt import PromptSpec
from llmemb.index import ItemIndex, Rows
from llmemb.item import Attributes, attributes_from_json
from llmemb.item_map import pca_positions
from llmemb.scoring.item_space import ItemSpace, compose, join
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm, SuccessorArray
from llmemb.sequence_models import SequenceModel

if TYPE_CHECKING:
    from llmemb.encoder.encoder import Encoder

Array = NDArray[np.float32]
ENCODER_FOLDER = "encoder"
SEMANTIC_TERM_FILE = "semantic_term.safetensors"
MAP_POSITIONS_FILE = "map_positions.safetensors"


@dataclass(frozen=True, kw_only=True)
class BundleItems:
    """The catalogue: row r of each column is item row r."""

    ids: tuple[str, ...]
    attributes_json: tuple[str, ...]
    """As written by `llmemb.item.attributes_to_json`."""
    popularity: NDArray[np.int64]
    """Interactions in the training part, `(N,)`."""

    @cached_property
    def rows(self) -> dict[str, int]:
        """Item id -> item row."""
        return {item_id: row for row, item_id in enumerate(self.ids)}

    def attributes(self, row: int) -> Attributes:
        """Return the attributes of an item row."""
        return attributes_from_json(self.attributes_json[row])


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Everything that serving needs except the encoder, which `load_encoder` loads."""

    folder: Path
    manifest: Manifest
    projection: Projection
    sequence_model: SequenceModel
    """In evaluation mode."""
    semantic_term: SemanticTerm | None
    items: BundleItems
    semantic: Array
    """Projected embeddings, `(N, d)`."""
    residual: Array | None
    """Learned collaborative residuals `(N, d)`, zero for an item without training interactions."""
    profile: Array | None
    """Semantic profile vectors `(N, q)`; None without a semantic term."""
    successors: SuccessorArray | None
    """Successor vectors `(N, q)`; None if the semantic term has no delta."""
    index: ItemIndex
    """Over `item_vectors`."""
    stored_positions: Array | None
    """Positions on the map of the catalogue, `(N, 2)`; None in bundles written without them."""

    @property
    def space(self) -> ItemSpace:
        """The computation of item vectors from raw embeddings."""
        return ItemSpace(self.projection, self.manifest.scoring, self.semantic_term)

    @cached_property
    def item_embeddings(self) -> Array:
        """Projection plus residual, `(N, d)`; of unit length if scoring is by cosine."""
        return compose(self.semantic, self.residual, self.manifest.scoring)

    @cached_property
    def item_vectors(self) -> Array:
        """Item embeddings, concatenated with the profile vectors if there is a semantic term, `(N, D)`."""
        return join(self.item_embeddings, self.profile)

    def history_vectors(self, item_vectors: Array, rows: Rows) -> Array:
        """Return the vectors of items in a history: item vectors, concatenated with successor vectors if there are any.

        Args:
            item_vectors: `(n, D)`.
            rows: rows in the bundle, `(n,)`; -1 for an item that is not in the bundle: its successor vector is computed
                from its text.
        """
        if self.successors is None or self.semantic_term is None:
            return item_vectors
        is_new = rows < 0
        if not is_new.any():
            return join(item_vectors, self.successors[rows])
        # -1 selects the last row, which is overwritten in the next line.
        successors = self.successors[rows].astype(np.float32)
        successors[is_new] = self.semantic_term.successors_of_texts(item_vectors[is_new, self.manifest.dim :])
        return join(item_vectors, successors)

    @cached_property
    def map_positions(self) -> Array:
        """The items' positions on the map of the catalogue, `(N, 2)`; computed by PCA if the bundle has none."""
        return pca_positions(self.item_embeddings) if self.stored_positions is None else self.stored_positions

    @property
    def prompt(self) -> PromptSpec:
        """How items become prompts."""
        return self.manifest.prompt.spec()

    def load_encoder(self, device: str = "cpu") -> "Encoder":
        """Load the encoder of this bundle, prepared for the common beginning of its prompts."""
        # Imported here because transformers takes seconds, and recommending does not need it.
        from llmemb.encoder.encoder import Encoder

        encoder = Encoder.load(self.folder / ENCODER_FOLDER, device)
        encoder.expect(self.prompt.beginning)
        return encoder
