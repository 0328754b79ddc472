import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.bundle import Bundle, read_bundle
from llmemb_service.catalogue.search.item_search import ItemSearch
from llmemb_service.catalogue.search.search_file import START, Position
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def untouched(bundle: Bundle) -> Iterator[ItemSearch]:
    with closing(ItemSearch(bundle, None)) as search:
        search.reset({})
        yield search


def ids(search: ItemSearch, query: str | None = None, limit: int = 100) -> list[str]:
    return [found.id for found in asyncio.run(search.find(query, START, limit))]


def take(search: ItemSearch, texts: dict[str, str | None]) -> None:
    search.update(texts)
    asyncio.run(search.wait_until_current())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("harbour", ["1", "21"]),
        ("HARBOUR silent", ["1", "21"]),
        ("lighth", ["5", "25"]),
        ("light silent", []),
        ("clockmaker's", ["8", "28"]),
        ("Clockmaker\u2019s", ["8", "28"]),
        ("farewéll,", ["13", "33"]),
        ("captain ii", ["33"]),
        ("harb silent", []),
        ("nowhere", []),
        ("!!!", []),
    ],
)
def test_words_are_found_wherever_they_stand(untouched: ItemSearch, query: str, found: list[str]) -> None:
    """All of them, in any order and case, without accents; the last one may be only begun."""
    assert sorted(ids(untouched, query), key=int) == found


SCRIPTS = {
    "japanese": "東京珈琲豆 深煎り",
    "half width": "ｶﾞﾗｽ \uff21\uff22\uff23",
    "chinese": "有機綠茶250克",
    "thai": "กาแฟคั่วเข้ม",
    "korean": "서울커피원두",
    "hindi": "हिन्दी कॉफ़ी",
    "decomposed": "Cafe\u0301 Cre\u0300me",
    "composed": "Th\u00e9 vert\u2122",
    "turkish": "\u0130stanbul Kebab\u0131",
    "german": "Stra\u00dfe",
    "greek": "\u039a\u03b1\u03c6\u03ad\u03c2",
    "russian": "\u0427\u0451\u0440\u043d\u044b\u0439",
    "arabic": "\u0642\u064e\u0647\u0652\u0648\u0629",
}


@pytest.fixture(scope="module")
def scripts(bundle: Bundle) -> Iterator[ItemSearch]:
    with closing(ItemSearch(bundle, None)) as search:
        search.reset({name: json.dumps({"title": title}) for name, title in SCRIPTS.items()})
        ids(search)
        yield search


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("珈琲", ["japanese"]),
        ("深煎り 珈琲豆", ["japanese"]),
        ("琲珈", []),
        ("ガラス", ["half width"]),
        ("カラス", []),
        ("abc", ["half width"]),
        ("綠茶", ["chinese"]),
        ("茶250", ["chinese"]),
        ("คั่ว", ["thai"]),
        ("เข้ม", ["thai"]),
        ("คั", ["thai"]),
        ("커피", ["korean"]),
        ("\u110f\u1165\u1111\u1175", ["korean"]),
        ("हिन्दी", ["hindi"]),
        ("caf\u00e9 creme", ["decomposed"]),
        ("cafe\u0301", ["decomposed"]),
        ("the\u0301 vert", ["composed"]),
        ("istanbul", ["turkish"]),
        ("\u0130STANBUL", ["turkish"]),
        ("\u0131stanbul kebabi", ["turkish"]),
        ("STRASSE", ["german"]),
        ("\u03ba\u03b1\u03c6\u03b5\u03c3", ["greek"]),
        ("\u0447\u0435\u0440\u043d", ["russian"]),
        ("\u0642\u0647\u0648\u0629", ["arabic"]),
    ],
)
def test_words_of_every_script_are_found(scripts: ItemSearch, query: str, found: list[str]) -> None:
    """Anywhere in a run without spaces, composed or decomposed, and without accents."""
    assert ids(scripts, query) == found


def test_all_attributes_are_searched(untouched: ItemSearch, bundle: Bundle) -> None:
    """Lists and numbers too."""
    dramas = [i for row, i in enumerate(bundle.items.ids) if "Drama" in bundle.items.attributes(row)["genres"]]

    assert sorted(ids(untouched, "drama"), key=int) == dramas
    assert "1" in ids(untouched, "1950 harbour")


def test_without_a_query_all_items_come_in_their_order(untouched: ItemSearch, bundle: Bundle) -> None:
    """The catalogue's."""
    assert ids(untouched) == list(bundle.items.ids)


@given(
    query=st.text() | st.sampled_from(['"', '""', "*", "a AND", "NEAR(a b)", "title:x", "- (", "^a", "a\0b", "' --"])
)
def test_any_text_is_a_query(untouched: ItemSearch, query: str) -> None:
    """None is a fault, whatever FTS5 would make of it."""
    ids(untouched, query.encode("utf-8", "replace").decode())


def test_long_query_is_answered(untouched: ItemSearch) -> None:
    """As many words as the route takes."""
    assert ids(untouched, "a " * 128) == ["3", "23"]


@given(limit=st.integers(1, 7), query=st.sampled_from([None, "ii", "the"]))
def test_pages_are_the_whole_list(untouched: ItemSearch, limit: int, query: str | None) -> None:
    """Each item once, in the same order."""
    after, found = START, []
    while page := asyncio.run(untouched.find(query, after, limit)):
        found += [each.id for each in page]
        after = page[-1].position

    assert found == ids(untouched, query)


def test_title_counts_more_than_other_attributes(bundle: Bundle) -> None:
    """The first attribute of the bundle is mostly the title."""
    with closing(ItemSearch(bundle, None)) as search:
        search.reset({"a": '{"title":"a fish","genres":["zebra"]}', "b": '{"title":"a zebra","genres":["fish"]}'})
        assert ids(search, "zebra") == ["b", "a"]
        assert ids(search, "fish") == ["a", "b"]


def test_changes_are_found(bundle: Bundle) -> None:
    """New texts and not the old ones; what was removed is gone, and comes back to its place."""
    with closing(ItemSearch(bundle, None)) as search:
        search.reset({})
        ids(search)
        take(search, {"new": '{"title":"Zebra"}', "1": '{"title":"Other zebra"}', "2": None})
        assert ids(search, "zebra") == ["new", "1"]
        assert ids(search, "harbour") == ["21"]
        assert ids(search)[:2] == ["1", "3"]
        assert ids(search)[-1] == "new"

        take(search, {"new": None, "2": '{"title":"Zebra"}'})
        assert ids(search, "zebra") == ["2", "1"]
        assert ids(search)[:3] == ["1", "2", "3"]
        assert len(ids(search)) == 40


def test_reset_takes_back_what_is_not_in_the_log(bundle: Bundle) -> None:
    """The log decides: an item that is not in it is as in the bundle."""
    with closing(ItemSearch(bundle, None)) as search:
        search.reset({"new": '{"title":"Zebra"}', "1": '{"title":"Zebra"}', "2": None})
        assert ids(search, "zebra") == ["1", "new"]
        search.reset({"3": '{"title":"Zebra"}'})
        wait_until(lambda: ids(search, "zebra") == ["3"], "the reset is applied")
        assert ids(search) == list(bundle.items.ids)
        assert ids(search, "silent harbour") == ["1", "21"]


def test_file_is_used_again(bundle: Bundle, tmp_path: Path) -> None:
    """The next start does not build it anew, and takes the log in."""
    for texts in ({"new": '{"title":"Zebra"}', "1": None}, {"newer": '{"title":"Zebra"}'}):
        with closing(ItemSearch(bundle, tmp_path)) as search:
            search.reset(texts)
            assert ids(search, "zebra") == list(texts)[:1]
    made = (tmp_path / f"search-{bundle.manifest.id}.sqlite3").stat().st_ino
    with closing(ItemSearch(bundle, tmp_path)) as search:
        search.reset({})
        assert ids(search) == list(bundle.items.ids)

    assert (tmp_path / f"search-{bundle.manifest.id}.sqlite3").stat().st_ino == made


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0 or so" + bytes(4096)])
def test_file_that_is_none_is_made_anew(bundle: Bundle, tmp_path: Path, content: bytes) -> None:
    """As is one that was not finished."""
    (tmp_path / f"search-{bundle.manifest.id}.sqlite3").write_bytes(content)
    with closing(ItemSearch(bundle, tmp_path)) as search:
        search.reset({})
        assert ids(search, "harbour") == ["1", "21"]


def test_folder_is_shared_by_several(bundle: Bundle, tmp_path: Path) -> None:
    """The second of one bundle takes a temporary file; files of bundles that no process has loaded are removed."""
    (tmp_path / "search-old.sqlite3").write_bytes(b"x")
    with closing(ItemSearch(bundle, tmp_path)) as one, closing(ItemSearch(bundle, tmp_path)) as other:
        for search, title in ((one, "Zebra"), (other, "Horse")):
            search.reset({"new": f'{{"title":"{title}"}}'})
            assert ids(search, title) == ["new"]
        assert ids(one, "horse") == []
        assert not (tmp_path / "search-old.sqlite3").exists()


def test_search_that_was_never_begun_can_be_closed(bundle: Bundle) -> None:
    """A catalogue that could not be attached closes what it made."""
    ItemSearch(bundle, None).close()


def test_position_orders_a_list() -> None:
    """The start is before every item."""
    assert START.score < Position(-1e9, 0).score
