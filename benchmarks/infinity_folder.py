"""Conversion of an encoder folder for the older transformers version of Infinity."""

import json
import shutil
from pathlib import Path


def folder_for_infinity(encoder_folder: Path, target: Path) -> Path:
    """Copy an encoder folder for transformers 4, which Infinity needs: the same weights and tokens, two keys renamed.

    Args:
        encoder_folder: encoder folder of a bundle.
        target: target folder, replaced if it exists.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(encoder_folder, target)
    config = json.loads((target / "config.json").read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    (target / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((target / "tokenizer_config.json").read_text())
    tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    (target / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return target
