"""What fails a run."""

from tests.load.config import Thresholds
from tests.load.figures import Figures


def breaches(figures: Figures, thresholds: Thresholds) -> list[str]:
    """Return what is past a threshold, a sentence for each; empty: the run is good."""
    if not figures.requests:
        return ["nothing was asked"]
    found = []
    for outcome, bound in (("failed", thresholds.failed_share), ("refused", thresholds.refused_share)):
        share = figures.count(outcome) / figures.requests  # type: ignore[arg-type]  # two of the outcomes
        if share > bound:
            found.append(f"{share:.4%} of the requests {outcome}, at most {bound:.4%} may")
    for route, bound_ms in thresholds.p99_ms.items():
        figure = figures.routes.get(route)
        if figure is None or figure.latency_ms is None:
            found.append(f"{route} was not answered once")
        elif figure.latency_ms.p99 > bound_ms:
            found.append(f"{route}: the p99 is {figure.latency_ms.p99:.0f} ms, at most {bound_ms:.0f} ms may be")
    return found
