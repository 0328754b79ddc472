"""Learning curves, read from the run's TensorBoard logs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Points = tuple[tuple[int, float], ...]
"""(step, value), the steps ascending."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How one number went in one training.

    Args:
        name: of the training, the path of its log folder.
        points: at each epoch or step.
    """

    name: str
    points: Points


def read_curves(logs: Path, tag: str) -> tuple[Curve, ...]:
    """Read a scalar of every training that logged it, in the order of their names.

    Args:
        logs: holds a log folder for each training, which may lie deeper.
        tag: of the scalar, such as `loss/train`.
    """
    folders = sorted({path.parent for path in logs.rglob("events.out.tfevents.*")})
    curves = (Curve(folder.relative_to(logs).as_posix(), _merge(folder, tag)) for folder in folders)
    return tuple(curve for curve in curves if curve.points)


def _merge(folder: Path, tag: str) -> Points:
    """Join the logs of a training that was cut off and went on, or began anew.

    The later log begins where its training began: what an earlier one says from there on was lost with it.
    """
    merged: dict[int, float] = {}
    for points in sorted(_read_logs(folder, tag), key=lambda log: log[0]):
        first = points[1][0][0]
        merged = {step: value for step, value in merged.items() if step < first} | dict(points[1])
    return tuple(sorted(merged.items()))


def _read_logs(folder: Path, tag: str) -> Iterator[tuple[float, Points]]:
    """Yield when each log that has the scalar began, and what it holds."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        log = EventAccumulator(str(path), size_guidance={"scalars": 0})
        log.Reload()
        if tag in log.Tags()["scalars"]:
            events = log.Scalars(tag)
            yield events[0].wall_time, tuple((int(event.step), float(event.value)) for event in events)
