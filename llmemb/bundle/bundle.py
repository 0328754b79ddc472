"""A bundle in memory.

`N` items, `h` the LLM's width, `d` the recommender's width, `q` the semantic term's, `D = d + q`.
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
from llmemb.item_map import fit_item_map
from llmemb.scoring.item_space import ItemSpace, compose, join
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm, SuccessorArray
from llmemb.sequence_models import SequenceModel

if TYPE_CHECKING:
    from llmemb.encoder.encoder import Encoder

Array = NDArray[np.float32]
ENCODER_FOLDER = "encoder"
SEMANTIC_TERM_FILE = "semantic_term.safetensors"
ITEM_MAP_FILE = "item_map.safetensors"


@dataclass(frozen=True, kw_only=True)
class BundleItems:
    """The catalogue: row r of each column is item row r."""

    ids: tuple[str, ...]
    attributes_json: tuple[str, ...]
    """As `llmemb.item.attributes_to_json` writes them."""
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
    """All that serving needs, but for the encoder, which `load_encoder` loads when it is wanted."""

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
    """Semantic profile vectors `(N, q)` where there is a semantic term."""
    successors: SuccessorArray | None
    """Successor vectors `(N, q)` where the semantic term has a delta."""
    index: ItemIndex
    """Over `item_vectors`."""
    stored_map: Projection | None
    """The map of the catalogue `(d, 2)`; None in a bundle that was written before there was one."""

    @property
    def space(self) -> ItemSpace:
        """What makes item vectors of raw embeddings."""
        return ItemSpace(self.projection, self.manifest.scoring, self.semantic_term)

    @cached_property
    def item_embeddings(self) -> Array:
        """Projection plus residual, `(N, d)`; of unit length where scoring is by cosine."""
        return compose(self.semantic, self.residual, self.manifest.scoring)

    @cached_property
    def item_vectors(self) -> Array:
        """Item embeddings, and beside them the profile vectors where there is a semantic term, `(N, D)`."""
        return join(self.item_embeddings, self.profile)

    def history_vectors(self, item_vectors: Array, rows: Rows) -> Array:
        """Return what items are in a history: item vectors, and beside them the successor vectors where there are such.

        Args:
            item_vectors: `(n, D)`.
            rows: the items' rows in the bundle, `(n,)`; -1 for an item that is not the bundle's, whose successor vector
                is made from its text.
        """
        if self.successors is None or self.semantic_term is None:
            return item_vectors
        strange = rows < 0
        if not strange.any():
            return join(item_vectors, self.successors[rows])
        # The last row stands in for -1 until it is replaced.
        successors = self.successors[rows].astype(np.float32)
        successors[strange] = self.semantic_term.successors_of_texts(item_vectors[strange, self.manifest.dim :])
        return join(item_vectors, successors)

    @cached_property
    def item_map(self) -> Projection:
        """Places item embeddings on the map of the catalogue, `(d, 2)`, see `llmemb/item_map.py`.

        Fitted here where the bundle has none, which reads every item's embedding.
        """
        return fit_item_map(self.item_embeddings) if self.stored_map is None else self.stored_map

    @property
    def prompt(self) -> PromptSpec:
        """How items become prompts."""
        return self.manifest.prompt.spec()

    def load_encoder(self, device: str = "cpu") -> "Encoder":
        """Load the encoder of this bundle, told how its prompts begin."""
        # With it comes transformers, which takes seconds; who only recommends never needs it.
        from llmemb.encoder.encoder import Encoder

        encoder = Encoder.load(self.folder / ENCODER_FOLDER, device)
        encoder.expect(self.prompt.beginning)
        return encoder
