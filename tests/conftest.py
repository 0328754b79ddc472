"""What all tests share: one tiny language model and one tiny bundle a run."""

from pathlib import Path

import hypothesis
import pytest
import torch

from tests.support.tiny import write_tiny_bundle, write_tiny_llm

# Models this small are slower on several threads, and one thread sums in one order: the same bits each run.
torch.set_num_threads(1)

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random Llama of 2 layers and width 32; read it, never write to it."""
    return write_tiny_llm(tmp_path_factory.mktemp("tiny") / "llm")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 40 movies with SASRec and a residual; read it, never write to it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", tiny_llm)


@pytest.fixture(scope="session")
def full_bundle(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with all that a bundle can have: cosine scoring, a semantic term, successors; never write to it."""
    return write_tiny_bundle(
        tmp_path_factory.mktemp("full") / "bundle", tiny_llm, scoring="cosine", gamma=2.0, delta=1.5
    )
