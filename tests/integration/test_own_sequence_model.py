"""A sequence model of somebody else's package: trained through the whole line, and served from the bundle."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmemb.bundle import read_bundle
from llmemb.cli import main
from llmemb.errors import ConfigError
from tests.support.catalogue import TrainedRun, trained_run
from tests.support.own_model import MODULE, NAME, install
from tests.support.service import make_settings, running


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package is installed while the tests of this module run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(install(tmp_path_factory.mktemp("site")))
        yield


@pytest.fixture(scope="module")
def run(package: None, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A finished run with it; read it, never write to it."""
    options = ("rat.max_epochs=3", "evaluate.baselines=false")
    return trained_run(tmp_path_factory.getbasetemp(), tiny_llm, NAME, options)


def test_bundle_names_the_model(run: TrainedRun) -> None:
    """The manifest holds its name, and reading the bundle builds its class."""
    bundle = run.bundle()

    assert bundle.manifest.sequence_model.name == NAME
    assert type(bundle.sequence_model).__name__ == "LastTwo"


def test_served_top_k_is_the_evaluated_one(run: TrainedRun, tmp_path: Path) -> None:
    """For every test user the service recommends what was evaluated, with the same scores."""
    frame = pl.read_parquet(run.folder / "evaluate" / "recommendations.parquet").filter(model="llmemb")
    assert frame.height > 0
    with running(make_settings(run.folder / "bundle", tmp_path)) as client:
        for row in frame.iter_rows(named=True):
            response = client.post("/recommend", json={"history": row["history"], "k": len(row["item_ids"])})
            assert response.status_code == 200, response.text
            items = response.json()["items"]
            assert [item["id"] for item in items] == row["item_ids"]
            np.testing.assert_allclose([item["score"] for item in items], row["scores"], rtol=1e-4, atol=1e-5)


def test_without_its_package_the_name_is_not_known(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the bundle can be read nor a run begun; the error says which names there are."""
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not (Path(folder) / f"{MODULE}.py").is_file()])
    message = f"the sequence model '{NAME}' is not known; there are sasrec, gru4rec, bert4rec"

    with pytest.raises(ConfigError, match=f"^{message}$"):
        read_bundle(run.folder / "bundle")
    with pytest.raises(SystemExit) as caught:
        main(["train", str(run.config_path), "--run", str(tmp_path / "run")])

    assert caught.value.code == 3
    assert capsys.readouterr().err == f"llmemb train: {run.config_path}: rat.model.name: {message}\n"
    assert not (tmp_path / "run").exists()
