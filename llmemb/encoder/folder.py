"""The files that make a folder of an LLM a sentence-transformers folder: its modules, pooling and length.

They are written here, not by that library, because the service reads them and runs without it.
"""

import json
from pathlib import Path

from llmemb.encoder.engines.engine import Pooling
from llmemb.errors import EncoderError

_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
_POOLING_KEYS: dict[Pooling, str] = {
    "mean": "pooling_mode_mean_tokens",
    "last": "pooling_mode_lasttoken",
    "cls": "pooling_mode_cls_token",
}


def write_encoder_settings(folder: Path, *, width: int, pooling: str, max_tokens: int) -> None:
    """Write `modules.json`, `sentence_bert_config.json` and `1_Pooling/config.json` into `folder`."""
    pooling_config = {"word_embedding_dimension": width} | {key: name == pooling for name, key in _POOLING_KEYS.items()}
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    _write(folder / "modules.json", _MODULES)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    _write(folder / "1_Pooling" / "config.json", pooling_config)


def read_encoder_settings(folder: Path) -> tuple[Pooling, int]:
    """Return the pooling and the greatest number of tokens of an encoder folder.

    Raises:
        EncoderError: a file is missing or unreadable, or the pooling is none of ours.
    """
    try:
        pooling_config = dict(json.loads((folder / "1_Pooling" / "config.json").read_text()))
        max_tokens = int(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(f"{folder} is no encoder folder: {error}") from error
    for pooling, key in _POOLING_KEYS.items():
        if pooling_config.get(key):
            return pooling, max_tokens
    raise EncoderError(f"{folder / '1_Pooling' / 'config.json'}: the pooling must be of the mean, last or CLS token")


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
