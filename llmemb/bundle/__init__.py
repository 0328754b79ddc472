"""The bundle: one immutable folder with everything that serving needs."""

from llmemb.bundle.bundle import Bundle, BundleItems
from llmemb.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    EncoderInfo,
    Manifest,
    Metric,
    Provenance,
    Selection,
    Trial,
)
from llmemb.bundle.read import read_bundle
from llmemb.bundle.write import write_bundle

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_FILE",
    "Bundle",
    "BundleItems",
    "EncoderInfo",
    "Manifest",
    "Metric",
    "Provenance",
    "Selection",
    "Trial",
    "read_bundle",
    "write_bundle",
]
