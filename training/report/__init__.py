"""The HTML report: `report/index.html`, one self-contained file."""

from training.report.gather import gather
from training.report.page import Page, render

__all__ = ["Page", "gather", "render"]
