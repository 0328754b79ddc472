"""`llmemb.encoder.folder`: the settings that make a folder readable for us and for sentence-transformers."""

import json
from pathlib import Path

import pytest

from llmemb.encoder.folder import read_encoder_settings, write_encoder_settings
from llmemb.errors import EncoderError


@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_settings_survive_the_folder(pooling: str, tmp_path: Path) -> None:
    """A folder reads back as written."""
    write_encoder_settings(tmp_path / "encoder", width=32, pooling=pooling, max_tokens=77)

    assert read_encoder_settings(tmp_path / "encoder") == (pooling, 77)


def test_modules_are_a_transformer_and_a_pooling(tmp_path: Path) -> None:
    """Nothing follows the pooling: the folder gives raw embeddings, not normalised ones."""
    write_encoder_settings(tmp_path, width=32, pooling="mean", max_tokens=77)

    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [(module["path"], module["type"].rsplit(".", 1)[-1]) for module in modules] == [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
    ]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("1_Pooling/config.json", None),
        ("1_Pooling/config.json", "{"),
        ("1_Pooling/config.json", "[]"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}'),
        ("sentence_bert_config.json", None),
        ("sentence_bert_config.json", "not JSON"),
        ("sentence_bert_config.json", "{}"),
        ("sentence_bert_config.json", "[]"),
        ("sentence_bert_config.json", '{"max_seq_length": null}'),
    ],
)
def test_unusable_settings_are_refused(file: str, text: str | None, tmp_path: Path) -> None:
    """A file that is missing, unreadable or says something else is an encoder error that names the folder."""
    write_encoder_settings(tmp_path, width=32, pooling="mean", max_tokens=77)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)

    with pytest.raises(EncoderError) as caught:
        read_encoder_settings(tmp_path)

    assert str(tmp_path) in str(caught.value)
