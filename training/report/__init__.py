"""The report a person reads: `report/index.html`, one file that opens offline."""

from training.report.gather import gather
from training.report.page import Page, render

__all__ = ["Page", "gather", "render"]
