"""`llmemb.sequence_models.build`: sequence models by name, ours and those that other packages bring."""

from pathlib import Path

import pytest

from llmemb.errors import ConfigError
from llmemb.sequence_models import SEQUENCE_MODELS, SequenceModelSpec, build_sequence_model, sequence_model_class
from tests.support.own_model import MODULE, NAME, install


def test_model_of_another_package_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its class builds it from the same spec as ours."""
    monkeypatch.syspath_prepend(install(tmp_path))
    model = build_sequence_model(SequenceModelSpec(name=NAME, dim=8))

    assert (type(model).__module__, type(model).__name__) == (MODULE, "LastTwo")
    assert model.spec.dim == 8


def test_entry_point_takes_no_name_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that names its model like one of ours changes no bundle that is already there."""
    monkeypatch.syspath_prepend(install(tmp_path, sasrec=f"{MODULE}:LastTwo"))

    assert sequence_model_class("sasrec") is SEQUENCE_MODELS["sasrec"]


def test_unknown_name_lists_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours first, then those of the installed packages."""
    monkeypatch.syspath_prepend(install(tmp_path))

    with pytest.raises(ConfigError) as caught:
        build_sequence_model(SequenceModelSpec(name="lstm"))

    assert str(caught.value) == (f"the sequence model 'lstm' is not known; there are sasrec, gru4rec, bert4rec, {NAME}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nonesuch:Model", "nonesuch:Model cannot be imported: No module named 'nonesuch'"),
        (f"{MODULE}:Nonesuch", f"{MODULE}:Nonesuch cannot be imported: module '{MODULE}' has no attribute 'Nonesuch'"),
        (f"{MODULE}:NOT_A_MODEL", f"{MODULE}:NOT_A_MODEL is no llmemb.sequence_models.SequenceModel"),
        ("builtins:dict", "builtins:dict is no llmemb.sequence_models.SequenceModel"),
    ],
)
def test_entry_point_that_is_no_model_is_refused(
    value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be imported, or is something else, is named with its entry point."""
    monkeypatch.syspath_prepend(install(tmp_path, mine=value))

    with pytest.raises(ConfigError) as caught:
        sequence_model_class("mine")

    assert str(caught.value) == f"the sequence model 'mine': {message}"
