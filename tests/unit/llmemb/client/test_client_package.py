"""`import llmemb.client` is light: a program that only calls the service needs none of the core's libraries."""

import subprocess
import sys
from types import ModuleType

from llmemb import client

HEAVY = {
    "torch",
    "faiss",
    "numpy",
    "polars",
    "transformers",
    "safetensors",
    "fastapi",
    "redis",
    "llmemb_service",
    "llmemb_training",
}


def test_client_imports_nothing_heavy() -> None:
    """Asked of a fresh interpreter."""
    program = "import sys, llmemb.client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert HEAVY.isdisjoint(done.stdout.split())


def test_package_exports_all_that_it_imports() -> None:
    """No name is forgotten, none is made up."""
    public = {
        name for name, value in vars(client).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert set(client.__all__) == public
