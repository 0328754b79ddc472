"""The HTML report: `report/index.html`, one self-contained file."""

from llmemb_training.report.gather import gather
from llmemb_training.report.page import Page, render

__all__ = ["Page", "gather", "render"]
