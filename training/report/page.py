"""The page's content, and its rendering into one HTML file that asks no host for anything."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llmemb.bundle import Selection
from training.evaluation.figures import Figures
from training.report.curves import LineChart
from training.report.facts import DatasetFacts, Option, StepTime
from training.report.item_map import ItemMap
from training.report.neighbours import ItemNeighbours
from training.report.results import BarPanel, Results
from training.report.summary import SIGNIFICANT, Summary
from training.report.users import ShownUser
from training.report.wording import Wording


@dataclass(frozen=True, slots=True)
class Page:
    """All that the template shows.

    Args:
        created_at: UTC.
        seed: of the configuration.
        words: names for people.
        summary: what stands first.
        figures: behind every table.
        results: one for each protocol, the full ranking first.
        bars: of the main groups.
        selections: what was chosen on validation.
        dataset: what was trained on.
        charts: learning curves.
        item_map: None where the sample is too small for one.
        neighbours: of ten items, at each stage.
        users: with what is recommended to them.
        steps: with the time each took.
        options: by section.
        versions: of Python and the libraries.
    """

    created_at: str
    seed: int
    words: Wording
    summary: Summary
    figures: Figures
    results: tuple[Results, ...]
    bars: tuple[BarPanel, ...]
    selections: tuple[Selection, ...]
    dataset: DatasetFacts
    charts: tuple[LineChart, ...]
    item_map: ItemMap | None
    neighbours: tuple[ItemNeighbours, ...]
    users: tuple[ShownUser, ...]
    steps: tuple[StepTime, ...]
    options: Mapping[str, tuple[Option, ...]]
    versions: Mapping[str, str]


def render(page: Page) -> str:
    """Write the page as HTML.

    Every text of the data is escaped, and a policy in the page lets the browser run no script but the page's own.
    """
    environment = Environment(
        loader=PackageLoader("training.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["duration"] = _duration
    environment.filters["p_value"] = _p_value
    environment.filters["signed"] = _signed
    environment.filters["number"] = "{:,}".format
    script = _read("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        page=page,
        style=Markup(_read("style.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=digest,
        significant=SIGNIFICANT,
    )


def _read(name: str) -> str:
    return (files("training.report") / "templates" / name).read_text(encoding="utf-8")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")  # noqa: RUF001 - a minus, as wide as the plus


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
