"""FAISS without its type stubs, which are incomplete."""

from typing import Any

import faiss as _faiss

faiss: Any = _faiss
