"""`training.steps.bundle`: what it refuses. What it writes is tested on whole runs, in the integration tests."""

from pathlib import Path

import numpy as np
import pytest

from llmemb.errors import BundleError
from llmemb.sequence_models import build_sequence_model
from tests.support.prepared import write_prepared
from training.config import Config
from training.recommenders import TrainedRecommender, write_recommender
from training.steps import bundle


def test_recommender_on_ids_makes_no_bundle(tmp_path: Path) -> None:
    """It could embed no new item; nothing is written."""
    config = Config.model_validate({"prepare": {"path": "-", "domain": "movie"}, "encoder": {"base": "llm"}})
    prepared = write_prepared(tmp_path / "prepare")
    ids = TrainedRecommender(build_sequence_model(config.rat.model), np.zeros((40, 64), dtype=np.float32))
    write_recommender(prepared, ids)

    with pytest.raises(BundleError, match=r"prepare has no projection: a vanilla recommender cannot embed new items$"):
        bundle.run(config, prepared, prepared, prepared, prepared, prepared, tmp_path / "bundle")

    assert not (tmp_path / "bundle").exists()
