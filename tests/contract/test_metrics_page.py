"""docs/metrics.md is what the code says."""

from pathlib import Path

from llmemb_service.observability.metrics_page import metrics_page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_metrics_page_is_up_to_date() -> None:
    """`make docs` writes it."""
    assert PAGE.read_text(encoding="utf-8") == metrics_page()
