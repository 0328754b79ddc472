"""FAISS without its type stubs, which lack much of what it has and what it takes."""

from typing import Any

import faiss as _faiss

faiss: Any = _faiss
