"""The content of the report page, and its rendering to one HTML file without external resources."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llmemb.bundle import Selection
from llmemb_training.evaluation.figures import Figures
from llmemb_training.report.curves import LineChart
from llmemb_training.report.facts import DatasetFacts, Option, StepTime
from llmemb_training.report.item_map import ItemMap
from llmemb_training.report.neighbours import ItemNeighbours
from llmemb_training.report.results import BarPanel, Results
from llmemb_training.report.summary import SIGNIFICANT, Summary
from llmemb_training.report.users import ShownUser
from llmemb_training.report.wording import Wording


@dataclass(frozen=True, slots=True)
class Page:
    """The content of the page.

    Args:
        created_at: time of creation, UTC.
        seed: the seed in the configuration.
        words: display names.
        summary: the summary at the top.
        figures: all metrics.
        results: tables of each protocol, full ranking first.
        bars: bar charts of the main groups.
        selections: options chosen on validation.
        dataset: facts about the dataset.
        charts: learning curves.
        item_map: None if the sample is too small.
        neighbours: neighbours of ten items at each stage.
        users: example users with their recommendations.
        steps: durations of the steps.
        options: options by section.
        versions: versions of Python and the libraries.
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
    """Render the page as HTML.

    All texts from the data are escaped, and the page's content security policy allows only its own script.
    """
    environment = Environment(
        loader=PackageLoader("llmemb_training.report", "templates"),
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
    return (files("llmemb_training.report") / "templates" / name).read_text(encoding="utf-8")


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
