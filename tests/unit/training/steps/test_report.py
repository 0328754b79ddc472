"""`steps.report`: one HTML file that loads nothing, has every part, and runs no item's text."""

import base64
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from llmemb_training.evaluation.figures import Figures, read_figures
from llmemb_training.steps import report
from tests.support.html import Element, parse_html
from tests.support.reported import ATTACK, GENRES, ITEMS, STEPS, write_run

EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
PARTS = [
    "summary", "data", "results", "bars", "selection", "curves", "map", "neighbours", "recommendations", "making",
]  # fmt: skip


class Reported:
    """A run and the page of it."""

    def __init__(self, folder: Path, *, scft: bool = True, stuck: bool = False) -> None:
        self.config, self.run = write_run(folder, scft=scft, stuck=stuck)
        output = self.run.step("report")
        output.mkdir()
        self.summary = report.run(self.config, self.run, STEPS, output)
        self.files = sorted(path.name for path in output.iterdir())
        self.text = (output / "index.html").read_text(encoding="utf-8")
        self.page = parse_html(self.text)

    @property
    def figures(self) -> Figures:
        return read_figures(self.run.step("evaluate"))

    def part(self, name: str) -> Element:
        return self.page.all("section", id=name)[0]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """A report of 60 items and 80 users."""
    return Reported(tmp_path_factory.mktemp("reported"))


def columns(table: Element) -> list[str]:
    """Return the column headers of a table, as one string each."""
    return [" ".join(head.text.split()) for head in table.all("thead")[0].all("th")]


def test_report_is_one_file(reported: Reported) -> None:
    """The folder has no other file, not even a temporary one, and the summary names the page."""
    assert reported.files == ["index.html"]
    assert reported.summary.startswith(str(reported.run.step("report") / "index.html"))


def test_page_has_every_part_and_a_link_to_it(reported: Reported) -> None:
    """Each part has a heading, and the navigation links to every part."""
    sections = reported.page.all("section")
    links = [link.attributes["href"] for link in reported.page.all("nav")[0].all("a")]

    assert [section.attributes["id"] for section in sections] == PARTS
    assert all(len(section.all("h2")) == 1 for section in sections)
    assert links == [f"#{part}" for part in PARTS]


def test_page_loads_nothing(reported: Reported) -> None:
    """No attribute or style refers to anything outside of the page, and the policy forbids it."""
    pointing = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    targets = [
        value
        for element in reported.page.each()
        for name, value in element.attributes.items()
        if name in pointing and value is not None
    ]
    policy = reported.page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]

    assert {target[0] if target.startswith("#") else target for target in targets} == {"#", "data:,"}
    assert not re.search(r"@import|url\(", reported.page.all("style")[0].text)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_only_the_script_of_the_page_may_run(reported: Reported) -> None:
    """There are two scripts, the data and ours; the policy allows ours by its hash, and no element has a handler."""
    data, script = reported.page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()

    assert data.attributes == {"type": "application/json", "id": "map-items"}
    assert script.attributes == {}
    assert f"script-src 'sha256-{digest}'" in reported.text
    assert [
        element for element in reported.page.each() if any(name.startswith("on") for name in element.attributes)
    ] == []


def test_text_of_items_stays_text(reported: Reported) -> None:
    """A title that would end the script and load an image is shown as text and creates no element."""
    names = [name for name, _ in json.loads(reported.page.all("script")[0].text)]

    assert reported.page.all("img") == []
    assert any(name.startswith("Film 0 </script><script>") for name in names)
    assert ATTACK not in reported.text
    assert "</script><script>" in reported.part("neighbours").text + reported.part("recommendations").text


def test_main_tables_show_the_figures(reported: Reported) -> None:
    """Each protocol's first table shows HR@10 and NDCG@10 of the main groups with their intervals, for every model."""
    figures = reported.figures
    tables = [table for table in reported.part("results").all("table") if table.all("caption")[0].text == "All models"]
    in_both = {"All": "all", "Tail items": "tail", "Head items": "head", "New items": "cold"}

    assert len(tables) == 2
    for protocol, table in zip(("full", "sampled"), tables, strict=True):
        groups = in_both | ({"New among new items": "cold_among_cold"} if protocol == "full" else {})
        expected = {
            (figure.model, figure.group, figure.metric): figure
            for figure in figures.figures
            if figure.protocol == protocol
        }
        models = list(dict.fromkeys(model for model, *_ in expected))
        rows = table.all("tbody")[0].all("tr")
        keys = [(group, metric) for group in groups.values() for metric in ("hr@10", "ndcg@10")]
        assert columns(table)[0] == "Model"
        assert [head.split(" @")[0].rpartition("@")[0] for head in columns(table)[1:]] == [
            f"{name} {metric}" for name in groups for metric in ("HR", "NDCG")
        ]
        assert len(rows) == len(models)
        for model, row in zip(models, rows, strict=True):
            for key, cell in zip(keys, row.all("td"), strict=True):
                figure = expected[model, *key]
                assert cell.attributes["data-sort"] == str(figure.value)
                assert cell.text == f"{figure.value:.4f} {figure.low:.4f}{EN_DASH}{figure.high:.4f}"


def test_comparisons_show_the_figures(reported: Reported) -> None:
    """Against each baseline: the ratio, the difference with its interval, and p."""
    table = next(
        table
        for table in reported.part("results").all("table")
        if table.all("caption")[0].text.startswith("LLMEmb against each baseline")
    )
    shown = [(cell.attributes["data-sort"], cell.text) for cell in table.all("td") if "data-sort" in cell.attributes]
    full = [one for one in reported.figures.comparisons if one.protocol == "full"]

    assert len(full) == len(shown)
    for one in full:
        intervals = {text.replace(MINUS, "-") for difference, text in shown if difference == str(one.difference)}
        assert any(f" {one.low:+.4f}…{one.high:+.4f} p " in text for text in intervals)


def test_bars_show_the_figures(reported: Reported) -> None:
    """One panel per group and one bar per model; the highest interval end of a panel is at 100 %."""
    panels = reported.part("bars").all("figure")
    values = {
        (f.group, f"{f.value:.4f}") for f in reported.figures.figures if (f.protocol, f.metric) == ("full", "hr@10")
    }

    assert [panel.all("figcaption")[0].text.split(" HR@10")[0] for panel in panels] == [
        "All", "Tail items", "Head items", "New items", "New among new items",
    ]  # fmt: skip
    for group, panel in zip(("all", "tail", "head", "cold", "cold_among_cold"), panels, strict=True):
        assert {(group, value.text) for value in panel.all("span", **{"class": "value"})} <= values
        ends = [
            sum(float(number) for number in re.findall(r"[\d.]+(?=%)", whisker.attributes["style"] or ""))
            for whisker in panel.all("span", **{"class": "whisker"})
        ]
        assert max(ends) == pytest.approx(100, abs=0.02)


def test_data_and_steps_are_shown(reported: Reported) -> None:
    """Every count of the dataset, also an unknown one, and every step with its time and result."""
    text = " ".join(reported.part("data").text.split())

    assert "Interactions read 4,321" in text
    assert "Items odd ones 17" in text
    assert "The movie item has the following attributes" in text
    assert all(f"{name} 1 min 2 s {name} is done" in text for name in STEPS)


def test_selection_shows_every_trial(reported: Reported) -> None:
    """The chosen value is shown with the scores of all candidates."""
    table = reported.part("selection").all("table")[0]

    assert "rat.semantic_term.gamma = 0.5" in table.all("caption")[0].text
    assert [row.text.split() for row in table.all("tbody")[0].all("tr")] == [
        ["0.0", "0.0811"],
        ["0.5", "chosen", "0.0934"],
    ]


def test_curves_are_those_of_what_was_kept(reported: Reported) -> None:
    """Validation and loss of each recommender, and SCFT's loss; not the candidates of the selection."""
    charts = reported.part("curves").all("figure")
    keys = [[key.text for key in chart.all("ul", **{"class": "keys"})[0].all("span")] for chart in charts]

    assert keys[0] == [
        f"{name}, best 0.2500 at epoch 2" for name in ("LLMEmb", "Vanilla SASRec", "Vanilla SASRec, BCE")
    ]
    assert keys[1] == ["LLMEmb", "Vanilla SASRec", "Vanilla SASRec, BCE"]
    assert keys[2] == ["contrastive loss"]
    assert [row.text.split() for row in charts[2].all("tbody")[0].all("tr")] == [["1", "4.0000"], ["2", "3.5000"]]


def test_map_shows_the_sample_at_three_stages(reported: Reported) -> None:
    """Each panel has all items of the sample, coloured alike; the groups are the genres that divide them."""
    part = reported.part("map")
    colours = [
        [circle.attributes["class"] for circle in svg.all("circle")] for svg in part.all("svg", **{"class": "map"})
    ]
    legend = [button.text.split(" ")[0] for button in part.all("button")]

    assert [head.text.split(" ")[1] for head in part.all("figcaption")] == ["SCFT", "SCFT", "RAT"]
    assert colours[0] == colours[1] == colours[2]
    assert len(colours[0]) == len(json.loads(part.all("script")[0].text)) == ITEMS / 2
    assert sorted(legend) == sorted(genre.split(" ")[0] for genre in GENRES)


def test_neighbours_of_ten_items(reported: Reported) -> None:
    """Ten items, with five neighbours at each stage, nearest first."""
    items = reported.part("neighbours").all("article")

    assert len(items) == 10
    for item in items:
        lists = item.all("ol")
        assert len(lists) == 3
        for shown in lists:
            cosines = [float(number.text) for number in shown.all("span", **{"class": "n"})]
            assert len(cosines) == 5
            assert all(first >= second for first, second in pairwise(cosines))


def test_users_have_their_history_and_their_lists(reported: Reported) -> None:
    """The marked item is the user's next item, at its rank in the predictions."""
    predictions = pl.read_parquet(reported.run.step("evaluate") / "predictions.parquet").filter(
        (pl.col("model") == "llmemb") & (pl.col("split") == "test")
    )
    ranks = dict(predictions.select("user_id", "rank_full").iter_rows())
    users = reported.part("recommendations").all("article")
    found = []
    for user in users:
        rank = ranks[user.all("span", **{"class": "id"})[0].text]
        hits = [hit for hit in user.all("ol")[0].all("li", **{"class": "hit"})]
        found.append(rank <= 10)
        assert [int(hit.all("span")[0].text) for hit in hits] == ([rank] if rank <= 10 else [])
        assert all(hit.all("span")[1].text == f"{user.all('strong')[0].text} ✓" for hit in hits)
        assert len(user.all("ul")[0].all("li")) >= 2

    assert found == [True] * 3 + [False] * 3


def test_configuration_is_complete(reported: Reported) -> None:
    """Every option is shown with its value; values that the configuration sets are in bold."""
    part = reported.part("making")
    options = {row.all("th")[0].text: row.all("td")[0] for row in part.all("tr") if len(row.all("td")) == 2}

    assert options["seed"].text == "5"
    assert options["alignment.temperature"].text == "2.0"
    assert options["alignment.temperature"].all("strong") == []
    assert options["domain"].all("strong")[0].text == "movie"
    assert "torch" in part.text


def test_headings_and_tables_are_for_screen_readers_too(reported: Reported) -> None:
    """Headings skip no level; tables have captions, header cells scopes, and drawings labels; ids are unique."""
    levels = [int(element.tag[1]) for element in reported.page.each() if re.fullmatch(r"h\d", element.tag)]
    ids = [element.attributes["id"] for element in reported.page.each() if "id" in element.attributes]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(second <= first + 1 for first, second in pairwise(levels))
    assert all(len(table.all("caption")) == 1 for table in reported.page.all("table"))
    assert all(head.attributes["scope"] in {"col", "row"} for head in reported.page.all("th"))
    assert all("aria-label" in svg.attributes or "aria-hidden" in svg.attributes for svg in reported.page.all("svg"))
    assert len(ids) == len(set(ids))


def test_same_run_gives_the_same_page(reported: Reported) -> None:
    """Except for its time, a second report is the same: every random choice is seeded."""
    report.run(reported.config, reported.run, STEPS, reported.run.step("report"))
    second = (reported.run.step("report") / "index.html").read_text(encoding="utf-8")
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"

    assert re.sub(stamp, "", second) == re.sub(stamp, "", reported.text)


def test_run_without_scft_has_two_stages(tmp_path: Path) -> None:
    """Without SCFT there are no stages before and after it."""
    plain = Reported(tmp_path, scft=False)

    assert [head.text.split(" 0")[0].split(" ")[:2] for head in plain.part("map").all("figcaption")] == [
        ["Without", "SCFT"], ["After", "RAT"],
    ]  # fmt: skip
    assert all(len(item.all("ol")) == 2 for item in plain.part("neighbours").all("article"))


def test_training_that_did_not_converge_has_a_warning(reported: Reported, tmp_path: Path) -> None:
    """The summary begins with a warning, its tiles compare nothing, and the comparisons have no row for the model."""
    stuck = Reported(tmp_path, stuck=True)
    (warning,) = stuck.part("summary").all("p", **{"class": "warning"})
    verdicts = [verdict.text.strip() for verdict in stuck.part("summary").all("p", **{"class": "verdict none"})]
    compared = stuck.part("results").all("table", **{"class": "figures compared sortable"})

    assert " ".join(warning.text.split()) == (
        "Warning. Vanilla SASRec (not converged): validation NDCG@10 0.0500 after 21 epochs is not above that of the "
        "most popular items, 0.1000. It is not a baseline, and no gain over it is shown."
    )
    assert len(verdicts) == 3
    assert all(verdict.startswith("not compared") for verdict in verdicts)
    assert all("Vanilla SASRec (not converged)" not in table.text for table in compared)
    assert all("Vanilla SASRec, BCE" in table.text for table in compared)
    assert reported.part("summary").all("p", **{"class": "warning"}) == []


def test_run_without_logs_says_so(tmp_path: Path) -> None:
    """Trainings that were reused from another run have no log in this one."""
    config, run = write_run(tmp_path)
    for log in run.logs.rglob("events*"):
        log.unlink()
    (run.step("report")).mkdir()
    report.run(config, run, STEPS, run.step("report"))
    page = parse_html((run.step("report") / "index.html").read_text(encoding="utf-8"))

    assert "no logs" in page.all("section", id="curves")[0].text
