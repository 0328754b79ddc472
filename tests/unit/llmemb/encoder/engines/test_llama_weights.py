"""`llmemb.encoder.engines.llama_weights`: what it does where a torch lacks the operators that it prefers."""

import platform

import pytest
import torch

from llmemb.encoder.engines import llama_weights

CPU = torch.device("cpu")


class Operators:
    """torch's oneDNN operators with one that another version of torch dropped or changed."""

    def __init__(self, name: str, error: type[Exception]) -> None:
        self._own = torch.ops.mkldnn
        self._name = name
        self._error = error

    def __getattr__(self, name: str) -> object:
        if name != self._name:
            return getattr(self._own, name)
        if self._error is AttributeError:
            raise AttributeError(name)
        return self._fail

    def _fail(self, *arguments: object) -> None:
        raise self._error("expected at most 5 arguments")


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
@pytest.mark.parametrize("name", ["_linear_pointwise", "_reorder_linear_weight"])
def test_product_is_public_where_a_private_operator_differs(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception]
) -> None:
    """The product is that of `functional.linear` where torch dropped an operator or changed its arguments."""
    weight, x = torch.randn(5, 7), torch.randn(3, 7)
    monkeypatch.setattr(torch.ops, "mkldnn", Operators(name, error))

    assert torch.equal(llama_weights._matrix(weight)(x), torch.nn.functional.linear(x, weight))


def test_product_of_bfloat16_is_public_where_support_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the operator that tells, bfloat16 is multiplied by `functional.linear`, and float32 is preferred."""
    weight, x = torch.randn(5, 7).bfloat16(), torch.randn(3, 7).bfloat16()
    monkeypatch.setattr(torch.ops, "mkldnn", Operators("_is_mkldnn_bf16_supported", AttributeError))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    assert torch.equal(llama_weights._matrix(weight)(x), torch.nn.functional.linear(x, weight))
    assert not llama_weights.multiplies_bfloat16(CPU)


@pytest.mark.parametrize(("capabilities", "expected"), [({"avx512_bf16": True}, True), ({"avx2": True}, False)])
def test_x86_multiplies_bfloat16_where_torch_lists_the_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    """The answer is that of torch's public list."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    assert llama_weights.multiplies_bfloat16(CPU) == expected


def test_x86_prefers_float32_where_torch_lists_no_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older torch without the list still answers."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delattr(torch.cpu, "get_capabilities")

    assert not llama_weights.multiplies_bfloat16(CPU)
