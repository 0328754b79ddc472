"""Third-party packages are used by their public parts: a private one may go with any version."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
OUR_PACKAGES = {
    "llmemb": "llmemb",
    "llmemb_training": "training/llmemb_training",
    "llmemb_service": "service/llmemb_service",
}
"""Name and folder."""
MODULES = sorted(path for folder in OUR_PACKAGES.values() for path in (REPOSITORY / folder).rglob("*.py"))

ALLOWED = {
    ("llmemb/encoder/engines/llama_weights.py", "torch.ops.mkldnn._reorder_linear_weight"): (
        "a tenth quicker than torch's public product; `_has_packed_products` chooses that one where this one fails"
    ),
    ("llmemb/encoder/engines/llama_weights.py", "torch.ops.mkldnn._linear_pointwise"): "the same",
    ("llmemb/encoder/engines/llama_weights.py", "torch.ops.mkldnn._is_mkldnn_bf16_supported"): (
        "torch has no public equivalent; where it is missing, bfloat16 is multiplied by torch's public product"
    ),
}
"""Module and private part, and why it is used all the same."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def own_names(tree: ast.Module) -> set[str]:
    """Return the names that the module defines: functions, classes, variables, attributes that it assigns to `self`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def private_parts(source: str) -> Iterator[str]:
    """Yield the private parts of third-party packages that a module imports or names as attributes.

    The class of an object is not known here, so every private attribute counts that the module does not define itself.
    """
    tree = ast.parse(source)
    own = own_names(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from private_imports(node)
            case ast.Attribute(value=ast.Name(id=module)) if module in sys.stdlib_module_names:
                pass
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield ast.unparse(node)
            case ast.Call(func=ast.Name(id=function), args=[of, ast.Constant(value=str(name)), *_]):
                if function in ("getattr", "setattr", "hasattr", "delattr") and is_private(name):
                    yield f"{ast.unparse(of)}.{name}"


def private_imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        paths = [f"{node.module}.{alias.name}" for alias in node.names] if node.level == 0 else []
    else:
        paths = [alias.name for alias in node.names]
    for path in paths:
        package, *inner = path.split(".")
        if package not in sys.stdlib_module_names and package not in OUR_PACKAGES and any(map(is_private, inner)):
            yield path


def test_private_parts_are_those_allowed() -> None:
    """No private import or attribute but those with a reason, and no reason for what is no longer used."""
    used = {
        (path.relative_to(REPOSITORY).as_posix(), part)
        for path in MODULES
        for part in private_parts(path.read_text(encoding="utf-8"))
    }

    assert len(MODULES) > 100  # the search above found the packages
    assert used == set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from uvicorn._types import ASGI3Application", ["uvicorn._types.ASGI3Application"]),
        ("from torch import _C", ["torch._C"]),
        ("import transformers._version", ["transformers._version"]),
        ("import torch\ntorch.cpu._is_avx2()", ["torch.cpu._is_avx2"]),
        ("model._peft_loaded = False", ["model._peft_loaded"]),
        ("class C(Base):\n    def run(self):\n        super()._run(self._task)", ["super()._run", "self._task"]),
        ("flag = getattr(model, '_flag', None)", ["model._flag"]),
        ("import os\nfrom os import _exit\nos._exit(0)", []),
        ("class C:\n    def __init__(self, other):\n        self._mask = other._mask", []),
        ("class C:\n    def _run(self):\n        self._run()", []),
        ("import torch\ntorch.__version__", []),
    ],
)
def test_private_parts_are_found(source: str, expected: list[str]) -> None:
    """Imports, attributes of modules and objects, inherited ones, and names in strings; not our own or Python's."""
    assert list(private_parts(source)) == expected
