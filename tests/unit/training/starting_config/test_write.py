"""`llmemb_training.starting_config`: from each form of a source to a configuration that trains."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from llmemb.errors import ConfigError, DataError, EncoderError
from llmemb_training.cli import init, train
from llmemb_training.config import Config, load_config
from llmemb_training.data.dataset import read_dataset
from llmemb_training.starting_config import starting_config
from llmemb_training.starting_config.write import ESTIMATES, quote
from llmemb_training.steps import prepare
from tests.support.tiny import write_tiny_llm

SHOP = Path(__file__).parents[4] / "docs" / "examples" / "shop"
TITLES = [f"{adjective} {noun}" for adjective in ("Red", "Green", "Blue") for noun in ("kettle", "mug", "tin", "jar")]
EVENTS = [
    (f"u{user}", row, 1_700_000_000 + 60 * i) for user in range(12) for i, row in enumerate(range(user, user + 8))
]
"""Of 12 users with 8 of 12 items each: user, item row modulo 12, seconds."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, in which there is no LLM."""
    monkeypatch.chdir(tmp_path)


def interactions(**names: str) -> list[dict[str, object]]:
    return [
        {names["user"]: user, names["item"]: f"i{row % 12}", names["time"]: seconds, names["rating"]: 1 + row % 5}
        for user, row, seconds in EVENTS
    ]


def json_lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def tags(row: int) -> list[str]:
    return ["kitchen", "metal" if row % 3 else "glass"]


def write_csv(folder: Path) -> None:
    pl.DataFrame(interactions(user="customer", item="sku", time="bought_at", rating="stars")).write_csv(
        folder / "interactions.csv"
    )
    items = [{"sku": f"i{row}", "tags": "|".join(tags(row)), "name": title} for row, title in enumerate(TITLES)]
    pl.DataFrame(items).write_csv(folder / "items.csv")


def write_jsonl(folder: Path) -> None:
    rows = interactions(user="user_id", item="item_id", time="timestamp", rating="rating")
    (folder / "interactions.jsonl").write_text(json_lines(rows))
    items = [{"item_id": f"i{row}", "title": title, "tags": tags(row)} for row, title in enumerate(TITLES)]
    with gzip.open(folder / "items.jsonl.gz", "wt") as file:
        file.write(json_lines(items))


def write_parquet(folder: Path) -> None:
    frame = pl.DataFrame(interactions(user="user", item="item", time="date", rating="rating"))
    frame.with_columns(pl.from_epoch("date")).write_parquet(folder / "interactions.parquet")
    items = [{"item": f"i{row}", "title": title, "tags": tags(row)} for row, title in enumerate(TITLES)]
    pl.DataFrame(items).write_parquet(folder / "items.parquet")


def write_recbole(folder: Path) -> None:
    rows = [f"{user}\ti{row % 12}\t{seconds}\n" for user, row, seconds in EVENTS]
    (folder / "a.inter").write_text("".join(["user_id:token\titem_id:token\ttimestamp:float\n", *rows]))
    items = [f"i{row}\t{title}\t{' '.join(tags(row))}\n" for row, title in enumerate(TITLES)]
    (folder / "a.item").write_text("".join(["item_id:token\ttitle:token_seq\ttags:token_seq\n", *items]))


def write_movielens_100k(folder: Path) -> None:
    (folder / "u.data").write_text("".join(f"{user}\ti{row % 12}\t4\t{time}\n" for user, row, time in EVENTS))
    flags = "|".join("0100000000000000000")
    items = [f"i{row}|{title} (1995)|01-Jan-1995||http://x|{flags}\n" for row, title in enumerate(TITLES)]
    (folder / "u.item").write_text("".join(items))


def write_movielens_1m(folder: Path) -> None:
    (folder / "ratings.dat").write_text("".join(f"{user}::i{row % 12}::4::{time}\n" for user, row, time in EVENTS))
    items = [f"i{row}::{title} (1995)::Action|Crime\n" for row, title in enumerate(TITLES)]
    (folder / "movies.dat").write_text("".join(items))


def write_yelp(folder: Path) -> None:
    reviews = [
        {"user_id": user, "business_id": f"i{row % 12}", "stars": 4, "date": f"2018-07-{1 + i % 28:02d} 10:00:00"}
        for i, (user, row, _) in enumerate(EVENTS)
    ]
    (folder / "yelp_academic_dataset_review.json").write_text(json_lines(reviews))
    items: list[dict[str, object]] = [
        {"business_id": f"i{row}", "name": title, "categories": "Food, Tea", "city": "Bath", "state": "SO"}
        for row, title in enumerate(TITLES)
    ]
    (folder / "yelp_academic_dataset_business.json").write_text(json_lines(items))


def _amazon_reviews() -> str:
    return json_lines(interactions(user="reviewerID", item="asin", time="unixReviewTime", rating="overall"))


def _amazon_items(key: str, categories: str) -> list[dict[str, object]]:
    return [{key: f"i{row}", "title": title, categories: tags(row)} for row, title in enumerate(TITLES)]


def write_amazon_2014(folder: Path) -> None:
    (folder / "reviews_Kitchen_5.json").write_text(_amazon_reviews())
    items = "".join(f"{item!r}\n" for item in _amazon_items("asin", "categories"))
    (folder / "meta_Kitchen.json").write_text(items)


def write_amazon_2018(folder: Path) -> None:
    (folder / "Kitchen_5.json").write_text(_amazon_reviews())
    (folder / "meta_Kitchen.json").write_text(json_lines(_amazon_items("asin", "category")))


def write_amazon_2023(folder: Path) -> None:
    rows = interactions(user="user_id", item="parent_asin", time="timestamp", rating="rating")
    (folder / "Kitchen.jsonl").write_text(json_lines(rows))
    (folder / "meta_Kitchen.jsonl").write_text(json_lines(_amazon_items("parent_asin", "categories")))


WRITERS: list[tuple[Callable[[Path], None], str, str, set[str]]] = [
    (write_csv, "generic", "name", {"name", "tags"}),
    (write_jsonl, "generic", "title", {"title", "tags"}),
    (write_parquet, "generic", "title", {"title", "tags"}),
    (write_recbole, "recbole", "title", {"title", "tags"}),
    (write_movielens_100k, "movielens", "title", {"title", "release_year", "genres"}),
    (write_movielens_1m, "movielens", "title", {"title", "release_year", "genres"}),
    (write_yelp, "yelp", "name", {"name", "categories", "city", "state"}),
    (write_amazon_2014, "amazon_2014", "title", {"title", "categories"}),
    (write_amazon_2018, "amazon_2018", "title", {"title", "categories"}),
    (write_amazon_2023, "amazon_2023", "title", {"title", "categories"}),
]


def load(text: str, folder: Path) -> Config:
    path = folder / "written.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def without_estimates(text: str) -> list[str]:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(ESTIMATES))
    return lines[:start] + lines[lines.index("", start) :]


@pytest.mark.parametrize(("write", "form", "title", "found"), WRITERS, ids=[write.__name__ for write, *_ in WRITERS])
def test_every_form_gives_a_configuration_that_prepares(
    tmp_path: Path, write: Callable[[Path], None], form: str, title: str, found: set[str]
) -> None:
    """The written text loads, names the form, and `prepare` reads the titles and the other attributes by it."""
    source = tmp_path / "source"
    source.mkdir()
    write(source)

    text = starting_config("source", "product")
    config = load(text, tmp_path)
    prepare.run(config.prepare, config.seed, tmp_path)
    attributes = read_dataset(tmp_path).attributes()

    assert (config.prepare.format, config.prepare.domain) == (form, "product")
    assert {str(item[title]) for item in attributes} == set(TITLES)
    assert {name for item in attributes for name in item} == found
    # Three examples of the titles stand in a comment.
    assert 3 in [sum(quote(each) in line for each in TITLES) for line in text.splitlines() if line.startswith("#")]


@pytest.mark.parametrize("write", [write_csv, write_recbole])
def test_lists_in_text_cells_are_split(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """Cells with `|`, and RecBole's sequences that are no titles, become lists; the filters use them."""
    write(tmp_path)

    config = load(starting_config(str(tmp_path), "product"), tmp_path)

    assert config.prepare.list_attributes == ("tags",)
    assert config.bundle.categories_attribute == "tags"


def test_shop_of_the_docs_is_understood(tmp_path: Path) -> None:
    """Columns with other names are found; the sizes are those of a small catalogue."""
    config = load(starting_config(str(SHOP), "product"), tmp_path)
    summary = prepare.run(config.prepare, config.seed, tmp_path)

    assert config.prepare.columns.model_dump(exclude={"rating"}) == {
        "user_id": "customer",
        "item_id": "sku",
        "timestamp": "bought_at",
    }
    assert config.prepare.attributes == {"name": "name", "maker": "maker", "tags": "tags"}
    assert summary.startswith("200 users, 60 items (3 held out as cold), 2,048 of 2,048 interactions")
    assert (config.rat.model.dim, config.rat.components, config.rat.model.max_length) == (32, 32, 20)
    assert config.rat.semantic_term.gamma == 0.0


def test_same_source_gives_the_same_text_but_for_the_estimates() -> None:
    """Everything but the measured minutes is a function of the source."""
    first, second = (starting_config(str(SHOP), "product") for _ in range(2))

    assert without_estimates(first) == without_estimates(second)
    assert len(without_estimates(first)) > 40


def test_values_of_users_are_escaped(tmp_path: Path) -> None:
    """Quotes, newlines and control characters in names and values neither end a comment nor a string."""
    write_jsonl(tmp_path)
    name = 'a "b"\n[rat]\x7f'
    odd: list[dict[str, object]] = [
        {"item_id": f"i{row}", "title": f"{title}\nseed = 1\r\u2028\x7f\\", name: f"v{row % 3}"}
        for row, title in enumerate(TITLES)
    ]
    (tmp_path / "items.jsonl.gz").unlink()
    (tmp_path / "items.jsonl").write_text(json_lines(odd))

    text = starting_config(str(tmp_path), 'pro"duct\n')
    config = load(text, tmp_path)

    assert config.seed == 42
    assert config.prepare.domain == 'pro"duct\n'
    assert config.prepare.attributes == {"title": "title", name: name}
    assert not [character for character in text if not character.isprintable() and character != "\n"]


def test_local_base_is_measured(tmp_path: Path) -> None:
    """An LLM on this machine gives the tokens of prompts and minutes for each step; without it they are open."""
    write_csv(tmp_path)
    base = str(write_tiny_llm(tmp_path / "llm"))

    measured, unmeasured = starting_config(str(tmp_path), "product", base), starting_config(str(tmp_path), "product")

    assert "?" not in measured.partition("seed =")[0]
    assert unmeasured.count("  ?  ") == 2
    assert "`make model`" in unmeasured
    config = load(measured, tmp_path)
    assert config.encoder.base == base
    assert config.encoder.max_tokens % 16 == 0


def test_base_of_sentence_transformers_keeps_its_pooling(tmp_path: Path) -> None:
    """The pooling of its folder is written, and its cosines are not whitened."""
    write_csv(tmp_path)
    base = write_tiny_llm(tmp_path / "llm")
    (base / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.models.Transformer"}]')
    (base / "1_Pooling").mkdir()
    (base / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')

    config = load(starting_config(str(tmp_path), "product", str(base)), tmp_path)

    assert (config.encoder.pooling, config.scft.whitened_components) == ("last", 0)
    (base / "1_Pooling" / "config.json").write_text("[1")
    with pytest.raises(EncoderError, match=r"1_Pooling/config\.json cannot be read: "):
        starting_config(str(tmp_path), "product", str(base))


def test_thin_source_gets_a_smaller_core(tmp_path: Path) -> None:
    """Where nobody has five interactions the k-core is lowered, and a comment says so."""
    write_csv(tmp_path)
    thin = pl.read_csv(tmp_path / "interactions.csv").group_by("customer", maintain_order=True).head(4)
    thin.write_csv(tmp_path / "interactions.csv")

    text = starting_config(str(tmp_path), "product")

    assert load(text, tmp_path).prepare.min_interactions == 3
    assert "# With 5, the default, nothing is left" in text


def test_broken_base_and_domain_are_refused(tmp_path: Path) -> None:
    """A folder without a model, and a domain of no word, are named."""
    write_csv(tmp_path)
    (tmp_path / "empty").mkdir()

    with pytest.raises(EncoderError, match="empty"):
        starting_config(str(tmp_path), "product", str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"prepare\.domain: "):
        starting_config(str(tmp_path), "")
    with pytest.raises(DataError, match=r"^nowhere holds no source"):
        starting_config("nowhere", "product")


def test_init_prints_the_configuration_alone(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Standard output can be redirected into a file, in UTF-8."""
    write_csv(tmp_path)

    init([str(tmp_path), "--domain", "thé"])
    printed = capfdbinary.readouterr().out.decode()

    assert load(printed, tmp_path).prepare.domain == "thé"


def test_train_of_a_source_writes_the_configuration_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is in the run folder, for items; a second run keeps it as it was edited."""
    shutil.copytree(SHOP, tmp_path / "shop")
    missing = ["--set", "encoder.base=./missing.gguf"]
    written = tmp_path / "runs" / "shop" / "config.toml"

    for _ in range(2):
        with pytest.raises(EncoderError, match=r"missing\.gguf"):
            train(["shop", *missing])
        assert load_config(written).prepare.domain == "item"
        with written.open("a") as file:
            file.write("\n# edited\n")

    assert capsys.readouterr().out.splitlines() == [
        "train     wrote the configuration runs/shop/config.toml; edit it, and run the same command again",
        "train     the configuration is runs/shop/config.toml",
    ]
    assert written.read_text().count("# edited") == 2


def test_preset_precedes_a_folder_of_its_name(tmp_path: Path) -> None:
    """A folder `demo` does not hide the preset; what is neither is refused."""
    (tmp_path / "demo").mkdir()

    with pytest.raises(DataError, match=r"^\.cache/data/ml-100k holds no source"):
        train(["demo"])
    with pytest.raises(ConfigError, match="no configuration 'nowhere'"):
        train(["nowhere"])
