"""How the tests read pages and compare outputs: a check that lets everything pass would be worth nothing."""

from pathlib import Path

import pytest

from tests.docs.follow import Reader, check_toml, make_workplace
from tests.docs.outputs import assert_json, assert_text
from tests.docs.page import Block, blocks_of

FENCE = "```"
PAGE = f"""# A page

<!-- not run: it takes an hour -->
{FENCE}sh
make everything
{FENCE}

<!-- runs on, once it says: ready -->
{FENCE}sh
echo ready; sleep 60
{FENCE}

{FENCE}toml title="a.toml"
seed = 1
{FENCE}
"""


def blocks(text: str) -> list[Block]:
    return blocks_of("page.md", text.replace("~~~", FENCE))


def test_blocks_have_their_marks() -> None:
    """Language, title, why one is not run and when one runs on."""
    first, second, third = blocks_of("page.md", PAGE)

    assert (first.language, first.not_run, first.place) == ("sh", "it takes an hour", "page.md, line 4")
    assert (second.runs_on, second.not_run) == ("ready", None)
    assert (third.language, third.title, third.text) == ("toml", "a.toml", "seed = 1\n")


@pytest.mark.parametrize(
    ("expected", "printed"),
    [("a ... c\n", "a b c\n"), ("...\nz\n", "x\ny\nz\n"), ("a\n...\n", "a\n"), ("a|b  \n", "a|b\n"), ("...\n", "")],
)
def test_dots_stand_for_anything(expected: str, printed: str) -> None:
    """In a line for a part of it, alone for lines, none too."""
    assert_text(expected, printed, "here")


@pytest.mark.parametrize(
    ("expected", "printed"), [("a\n", "b\n"), ("a\n", "a\nb\n"), ("a\n...\nb\n", "a\nc\n"), ("a ... c\n", "a\nc\n")]
)
def test_other_text_is_told(expected: str, printed: str) -> None:
    """Also where it is only longer."""
    with pytest.raises(AssertionError, match="here: the page says"):
        assert_text(expected, printed, "here")


@pytest.mark.parametrize(
    ("expected", "printed", "same_values", "same_kinds"),
    [
        ('{"a": 1}', '{"a": 1}', True, True),
        ('{"a": 1}', '{"a": 2.5}', False, True),
        ('{"a": 1}', '{"a": "1"}', False, False),
        ('{"a": 1}', '{"a": 1, "b": 2}', False, False),
        ('{"a": 1, ...}', '{"a": 1, "b": 2}', True, True),
        ('{"a": ...}', '{"a": {"b": 2}}', True, True),
        ("[1, ...]", "[1, 2, 3]", True, True),
        ("[1, 2]", "[1, 2, 3]", False, True),
        ("[1, 2, ...]", "[1]", False, True),
        ('["..."]', '["anything"]', True, True),
        ("null", "0", False, False),
        ("true", "1", False, False),
    ],
)
def test_json_is_compared_by_values_or_by_kinds(
    expected: str, printed: str, same_values: bool, same_kinds: bool
) -> None:
    """Names are compared either way."""
    for values, same in ((True, same_values), (False, same_kinds)):
        if same:
            assert_json(expected, printed, "here", values=values)
        else:
            with pytest.raises(AssertionError, match=r"here: \$"):
                assert_json(expected, printed, "here", values=values)


def test_page_is_followed_in_its_order(tmp_path: Path) -> None:
    """A file that it shows is there for the command after it, a server runs on, names of Python stay."""
    page = """
~~~toml title="a.toml"
[prepare]
path = "shop"
domain = "product"
~~~
<!-- runs on, once it says: ready -->
~~~sh
echo ready; sleep 600
~~~
~~~text
ready
~~~
~~~sh
head -n 1 a.toml
~~~
~~~text
[prepare]
~~~
~~~python
number = 41
~~~
~~~python
print(number + 1)
~~~
~~~text
42
~~~
"""
    with Reader(make_workplace(tmp_path / "repository")) as reader:
        assert reader.follow(blocks(page)) == 5


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("~~~sh\nfalse\n~~~\n", "page.md, line 1: ended with 1"),
        ("~~~sh\nfalse | true\n~~~\n", "ended with 1"),
        ("~~~sh\necho b\n~~~\n~~~text\na\n~~~\n", "page.md, line 4: the page says"),
        ("~~~sh\necho 'status 503' >&2\n~~~\n", "refused, and the page does not say so"),
        ("~~~ruby\nputs 1\n~~~\n", "no rule for running 'ruby'"),
        ("~~~\nno language\n~~~\n", "no rule for running ''"),
    ],
)
def test_what_is_not_so_is_told(page: str, message: str, tmp_path: Path) -> None:
    """With the place in the page."""
    with (
        Reader(make_workplace(tmp_path / "repository")) as reader,
        pytest.raises(AssertionError, match=message.replace("(", r"\(")),
    ):
        reader.follow(blocks(page))


@pytest.mark.parametrize("text", ["[prepare]\npath = 1\n", "[nowhere]\na = 1\n", "[scft]\nepoch = 1\n"])
def test_configuration_of_a_page_is_checked(text: str) -> None:
    """By the model of its section."""
    with pytest.raises((ValueError, KeyError)):
        check_toml(blocks(f"~~~toml\n{text}~~~\n")[0])
