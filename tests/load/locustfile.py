"""Locust's side of a mixed run: users that do what `people.py` says, bounds, thresholds and the report.

`python -m tests.load mixed` starts it; the run's spec comes by the environment. Importing Locust patches sockets and
threads of the process, so nothing that pytest runs imports this.
"""

import itertools
import logging
import time
from abc import abstractmethod
from collections.abc import Iterator
from random import Random
from typing import Any

import gevent
from locust import User, events, task
from locust.env import Environment

from tests.load.asking import Asker
from tests.load.figures import Measurements
from tests.load.measurement import Measurement
from tests.load.people import Embedder, Person, Shop, Shopper
from tests.load.population import read_population
from tests.load.report import Phase, Report, write_report
from tests.load.run_spec import RunSpec
from tests.load.stamps import stamps
from tests.load.steps import drive
from tests.load.thresholds import breaches

NOTES = (
    "A closed loop: a person waits for an answer before the next request, so a slow service is asked less; "
    "`python -m tests.load open` shows what waits.",
    "Latencies are the client's, of what was answered well, with the parsing of the answer.",
    "gone: a click on an item that its shop had taken away since it was shown.",
)
logger = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # it has a line for each request

run = RunSpec.of_environment()
population = read_population(run.bundle)
measurements = Measurements()
began = time.perf_counter()
begin_stamps = stamps(run.bundle_id, run.seed, ("locust", "gevent", "httpx2"))


class _Person(User):
    """A user that repeats its visits until the run ends."""

    abstract = True
    _numbers: Iterator[int] = itertools.count()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        number = next(self._numbers)
        name = f"{run.name}-{type(self).__name__.lower()}-{number}"
        self.person = self.make_person(Random(f"{run.seed}:{number}"), name)
        self.asker = Asker(run.url, run.api_key, self._measured)
        self._pause_seconds = 0.0

    @abstractmethod
    def make_person(self, random: Random, name: str) -> Person:
        """Make who it is."""

    @task
    def visit(self) -> None:
        """Come once."""
        drive(self.person.visit(), self.asker.ask, self._pause)
        self._pause_seconds = 0.0

    def wait_time(self) -> float:
        """How long `wait` takes."""
        return self._pause_seconds

    def on_stop(self) -> None:
        """Put in order what an unfinished visit has left."""
        drive(self.person.leave(), self.asker.ask, gevent.sleep)
        self.asker.close()

    def _pause(self, seconds: float) -> None:
        # Unlike a mere sleep it ends, and the visit with it, when the run does.
        self._pause_seconds = seconds
        self.wait()

    def _measured(self, measurement: Measurement) -> None:
        measurements.add(measurement)
        method, _, name = measurement.route.partition(" ")
        bad = measurement.outcome in {"failed", "refused"}
        self.environment.events.request.fire(
            request_type=method,
            name=name,
            response_time=measurement.seconds * 1000,
            response_length=0,
            exception=RuntimeError(measurement.reason or measurement.outcome) if bad else None,
            context={},
        )
        if len(measurements) == run.config.mixed.requests and self.environment.runner is not None:
            logger.warning("as many requests as may be were sent; the run ends")
            # Not here: quitting waits for this user too.
            gevent.spawn(self.environment.runner.quit)


class ShopperUser(_Person):
    """Looks around and clicks."""

    fixed_count = run.config.mixed.shoppers

    def make_person(self, random: Random, name: str) -> Person:
        """Make who it is."""
        return Shopper(population, random, name, run.config.mixed.think_seconds)


class ShopUser(_Person):
    """Uploads items in bursts."""

    fixed_count = run.config.mixed.shops

    def make_person(self, random: Random, name: str) -> Person:
        """Make who it is."""
        return Shop(population, random, name, run.config.mixed.batch_items, 4 * run.config.mixed.think_seconds)


class EmbedderUser(_Person):
    """Has everything embedded again."""

    fixed_count = run.config.mixed.embedders

    def make_person(self, random: Random, name: str) -> Person:
        """Make who it is."""
        return Embedder(population, random, run.config.mixed.batch_items, run.config.mixed.think_seconds)


@events.quitting.add_listener
def _report(environment: Environment, **_: Any) -> None:
    """Write the report, and let the run fail where it is past a threshold."""
    figures = measurements.figures(time.perf_counter() - began)
    found = breaches(figures, run.config.thresholds)
    report = Report(
        kind="mixed",
        stamps=begin_stamps.ended(),
        config=run.config,
        phases=(Phase(name="People", figures=figures),),
        breaches=tuple(found),
        notes=NOTES,
    )
    write_report(report, run.out)
    environment.process_exit_code = 1 if found else 0
