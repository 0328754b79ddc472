"""`llmemb.errors`: the tree in the docstring is the tree of classes."""

import re

import pytest

from llmemb import errors
from llmemb.errors import InvalidItemError, LlmembError, UnknownItemError

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LlmembError)]


def test_docstring_draws_every_error_under_its_parent() -> None:
    """The drawing at the head of the module names each class once, indented under the one it derives from."""
    assert errors.__doc__ is not None
    drawn = re.findall(r"^( *[│├└─ ]*)(\w+Error)\b", errors.__doc__, flags=re.MULTILINE)
    depth = {name: len(indent) // 4 for indent, name in drawn}

    assert [name for _, name in drawn] == [cls.__name__ for cls in CLASSES]
    assert depth == {cls.__name__: len(cls.__mro__) - len(LlmembError.__mro__) + 1 for cls in CLASSES}


def test_every_error_has_a_code_of_its_own() -> None:
    """The service tells errors apart by their codes."""
    codes = [cls.code for cls in CLASSES]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_invalid_item_says_where_and_what() -> None:
    """The message is the place and the fault; both can be had apart."""
    error = InvalidItemError("attributes.title", "must be a string")

    assert str(error) == "attributes.title: must be a string"
    assert (error.location, error.message) == ("attributes.title", "must be a string")


@pytest.mark.parametrize(
    ("item_ids", "message"),
    [
        (["7"], "not in the catalogue: '7'"),
        (["a", "b"], "not in the catalogue: 'a', 'b'"),
        ([str(i) for i in range(12)], f"not in the catalogue: {', '.join(repr(str(i)) for i in range(10))} and 2 more"),
    ],
)
def test_unknown_items_are_listed(item_ids: list[str], message: str) -> None:
    """The message shows at most ten ids and counts the rest; the error holds them all."""
    error = UnknownItemError(item_ids)

    assert str(error) == message
    assert error.item_ids == item_ids
