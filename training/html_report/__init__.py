"""The report a person reads: `report/index.html`, one file that opens offline."""

from training.html_report.gather import gather
from training.html_report.page import Page, render

__all__ = ["Page", "gather", "render"]
