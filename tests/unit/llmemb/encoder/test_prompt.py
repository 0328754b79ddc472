"""`llmemb.encoder.prompt`: the text of METHOD's template, to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.encoder.prompt import INSTRUCTION, PromptSpec, check_instruction
from llmemb.errors import InvalidItemError
from llmemb.item import AttributeValue

MOVIE = PromptSpec("movie", ("title", "release_year", "genres"))
HEAD = "The movie item has the following attributes: \n"


def test_prompt_is_the_template_of_the_paper() -> None:
    """Instruction, newline, then `<attribute> is <value>` joined by "; ", a list joined by ", "."""
    prompt = MOVIE.render({"title": "Heat", "release_year": "1995", "genres": ("Action", "Crime")})

    assert prompt == (
        "The movie item has the following attributes: \ntitle is Heat; release_year is 1995; genres is Action, Crime"
    )


def test_prompts_begin_as_announced() -> None:
    """Up to the first attribute's value, for every item that has that attribute."""
    assert MOVIE.beginning == HEAD + "title is "
    assert MOVIE.render({"title": "Heat", "genres": ("Action",)}).startswith(MOVIE.beginning)
    assert PromptSpec("movie", ()).beginning == HEAD


@pytest.mark.parametrize(
    ("instruction", "head"),
    [
        ("", ""),
        ("passage: ", "passage: "),
        ("Represent this {domain} of {{brand}}:\n", "Represent this movie of {brand}:\n"),
    ],
)
def test_instruction_is_the_catalogues_own(instruction: str, head: str) -> None:
    """Any text in which the domain may stand, or none; prompts and the announced beginning have the same."""
    own = PromptSpec("movie", ("title", "genres"), instruction=check_instruction(instruction))

    assert own.render({"title": "Heat {domain}", "genres": "Crime"}) == head + "title is Heat {domain}; genres is Crime"
    assert own.beginning == head + "title is "


def test_instruction_of_the_paper_is_the_default() -> None:
    """A catalogue that says nothing has the paper's."""
    assert MOVIE.instruction == check_instruction(INSTRUCTION) == "The {domain} item has the following attributes: \n"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("The {title}: ", r"has a field other than \{domain\}"),
        ("The {}: ", r"has a field other than \{domain\}"),
        ("The {0}: ", r"has a field other than \{domain\}"),
        ("The {domain.__class__}: ", r"has a field other than \{domain\}"),
        ("The {domain!r}: ", r"has a field other than \{domain\}"),
        ("The {domain:>9}: ", r"has a field other than \{domain\}"),
        ("The {domain: ", "is no template: "),
        ("The domain}: ", "is no template: Single '}' encountered"),
    ],
)
def test_bad_instruction_is_refused(template: str, fault: str) -> None:
    """Whatever is no text around the domain: the error shows it, and what would be right."""
    with pytest.raises(ValueError, match=fault):
        check_instruction(template)


def test_missing_attribute_leaves_no_trace() -> None:
    """An item that lacks an attribute has a prompt without it."""
    assert MOVIE.render({"genres": ("Action",)}) == HEAD + "genres is Action"


@given(st.permutations(["title", "release_year", "genres"]))
def test_prompt_does_not_depend_on_the_order_of_attributes(order: list[str]) -> None:
    """The catalogue's order holds, whatever order the item came in."""
    attributes: dict[str, AttributeValue] = {"title": "Heat", "release_year": "1995", "genres": ("Action", "Crime")}

    assert MOVIE.render({name: attributes[name] for name in order}) == MOVIE.render(attributes)


def test_given_order_is_obeyed() -> None:
    """The two views of training name the attributes they keep, in their own order."""
    prompt = MOVIE.render_in_order({"title": "Heat", "release_year": "1995", "genres": "Crime"}, ["genres", "title"])

    assert prompt == HEAD + "genres is Crime; title is Heat"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("one\ntwo", "one two"),
        ("one\r\n\ttwo", "one two"),
        (" Heat  ", "Heat"),
        ("one; two;three", "one. two.three"),
        (("a;b", "c\nd"), "a.b, c d"),
        (("only",), "only"),
        ("a, b", "a, b"),
    ],
)
def test_separators_do_not_come_from_a_value(value: AttributeValue, shown: str) -> None:
    """In a value white space becomes one space and ";" becomes "."."""
    assert MOVIE.render({"title": value}) == f"{HEAD}title is {shown}"


@pytest.mark.parametrize(("length", "kept"), [(99, 99), (100, 100), (101, 100), (1_000_000, 100)])
def test_value_is_cut_at_100_characters(length: int, kept: int) -> None:
    """A value of any length takes at most 100 characters of the prompt."""
    assert MOVIE.render({"title": "x" * length}) == f"{HEAD}title is {'x' * kept}"


def test_list_is_cut_as_a_whole() -> None:
    """The bound holds for the joined list, not for each entry."""
    shown = MOVIE.render({"genres": ("x" * 60, "y" * 60)}).removeprefix(f"{HEAD}genres is ")

    assert shown == "x" * 60 + ", " + "y" * 38


def test_bound_is_the_catalogues_own() -> None:
    """A catalogue may cut its values elsewhere."""
    assert PromptSpec("film", ("title",), max_value_characters=3).render({"title": "Heat"}).endswith("\ntitle is Hea")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_prompt_has_one_line_for_the_values(value: str) -> None:
    """No value can break the template: one newline, and as many ";" as there are attributes less one."""
    prompt = MOVIE.render({"title": value, "genres": (value, value)})

    assert prompt.count("\n") == 1
    assert prompt.count(";") == 1


def test_unknown_attribute_is_refused_by_name() -> None:
    """The error names the unknown attribute and lists the known ones."""
    with pytest.raises(InvalidItemError) as caught:
        MOVIE.check({"title": "Heat", "brand": "x"})

    assert str(caught.value) == (
        "attributes.brand: unknown attribute; this catalogue knows title, release_year, genres"
    )


def test_known_attributes_pass() -> None:
    """Any subset of the known attributes is accepted."""
    MOVIE.check({"genres": ("Action",), "title": "Heat"})
