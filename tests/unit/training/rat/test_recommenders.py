"""`llmemb_training.rat.recommenders` and `llmemb_training.embedding.raw_embeddings`: files that lose nothing."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from llmemb.scoring.projection import Projection, unit_length
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_training.embedding.raw_embeddings import RAW_EMBEDDINGS_FILE, read_raw_embeddings, save_raw_embeddings
from llmemb_training.rat.recommenders import (
    TrainedRecommender,
    read_item_embeddings,
    read_recommender,
    write_recommender,
)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec"])
def test_recommender_reads_back_as_it_was_written(tmp_path: Path, name: str, whole: bool) -> None:
    """Weights, tables and projection are the same to the bit; a vanilla one has neither residual nor projection."""
    spec = SequenceModelSpec.model_validate({"name": name, "dim": 8, "max_length": 4})
    model = build_sequence_model(spec)
    projection = Projection(weight=draw(5, 8), bias=draw(8)) if whole else None
    write_recommender(tmp_path, TrainedRecommender(model, draw(6, 8), draw(6, 8) if whole else None, projection))
    read = read_recommender(tmp_path, spec)

    assert not read.model.training
    assert all(torch.equal(read.model.state_dict()[key], value) for key, value in model.state_dict().items())
    assert np.array_equal(read.semantic, draw(6, 8))
    assert np.array_equal(read.item_embeddings, 2 * draw(6, 8) if whole else draw(6, 8))
    if whole:
        assert read.projection is not None
        assert np.array_equal(read.projection.weight, draw(5, 8))
        assert np.array_equal(read.projection.bias, draw(8))
    else:
        assert (read.residual, read.projection) == (None, None)
    assert (read.scoring, read.semantic_term, read.profile) == ("dot", None, None)


def test_scoring_and_semantic_term_read_back(tmp_path: Path) -> None:
    """They compose the scored vectors: embeddings of unit length, then the profile vectors."""
    spec = SequenceModelSpec(dim=8, max_length=4)
    term = SemanticTerm(Projection(weight=draw(5, 3), bias=draw(3)), 0.5, 7, 0.8)
    profile = draw(6, 3)
    model = build_sequence_model(spec)
    write_recommender(
        tmp_path, TrainedRecommender(model, draw(6, 8), None, None, "cosine", semantic_term=term, profile=profile)
    )
    read = read_recommender(tmp_path, spec)

    assert read.scoring == "cosine"
    assert read.semantic_term is not None
    assert (read.semantic_term.gamma, read.semantic_term.history, read.semantic_term.decay) == (0.5, 7, 0.8)
    assert np.array_equal(read.semantic_term.reduction.weight, draw(5, 3))
    assert np.array_equal(read.item_embeddings, unit_length(draw(6, 8)))
    assert np.array_equal(read.item_vectors, np.concatenate([unit_length(draw(6, 8)), profile], axis=1))


@pytest.mark.parametrize("scoring", ["dot", "cosine"])
def test_item_embeddings_are_read_without_the_sequence_model(tmp_path: Path, scoring: Literal["dot", "cosine"]) -> None:
    """Composed as the recommender composes them."""
    model = build_sequence_model(SequenceModelSpec(dim=8, max_length=4))
    written = TrainedRecommender(model, draw(6, 8), 3 * draw(6, 8) ** 2, scoring=scoring)
    write_recommender(tmp_path, written)

    assert np.array_equal(read_item_embeddings(tmp_path), written.item_embeddings)


def test_raw_embeddings_read_back_as_they_were_written(tmp_path: Path) -> None:
    """Nothing is left beside the file."""
    save_raw_embeddings(draw(3, 4), tmp_path / RAW_EMBEDDINGS_FILE)

    assert np.array_equal(read_raw_embeddings(tmp_path), draw(3, 4))
    assert [path.name for path in tmp_path.iterdir()] == [RAW_EMBEDDINGS_FILE]
