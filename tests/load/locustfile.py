"""Locust's side of a mixed run: users that do what `people.py` says, bounds, thresholds and the report.

`python -m tests.load mixed` starts it; `RUN_VARIABLE` names the spec of the run. Importing Locust patches sockets and
threads of the process, so nothing that pytest runs imports this.
"""

import itertools
import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import gevent
import httpx2
from locust import User, events, task
from locust.env import Environment

from llmemb.client import NO_RETRIES, ApiError, Client, ClientError
from tests.load.config import TIMEOUT_SECONDS, RunSpec
from tests.load.figures import Measurement, Measurements, breaches, outcome_of, parts_of, route_of
from tests.load.http_load import AnyCall
from tests.load.people import Embedder, Person, Refused, Reply, Shop, Shopper
from tests.load.population import read_population
from tests.load.report import Phase, Report, Stamps, write_report

NOTES = (
    "A closed loop: a person waits for an answer before the next request, so a slow service gets fewer requests; "
    "`python -m tests.load open` shows what waits.",
    "Latencies are the client's, of good answers, with the parsing of the answer.",
    "gone: a click on an item that its shop had removed since it was shown.",
)
_MIN_WAIT_SECONDS = 1.0
"""After a refusal without `Retry-After`."""
logger = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line for each request

run = RunSpec.of_environment()
population = read_population(run.bundle)
measurements = Measurements()
began = time.perf_counter()
begin_stamps = Stamps.begun(run.bundle_id, run.seed, ("locust", "gevent", "httpx2"))


class _HeaderTransport(httpx2.HTTPTransport):
    """Keeps the headers of the last answer, which the client does not pass on."""

    headers = httpx2.Headers()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.headers = httpx2.Headers()
        response = super().handle_request(request)
        self.headers = response.headers
        return response


class _PersonUser(User):
    """A user that repeats the visits of a person until the run ends; each request is sent once, to show what fails."""

    abstract = True
    _numbers: Iterator[int] = itertools.count()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        number = next(self._numbers)
        name = f"{run.name}-{type(self).__name__.lower()}-{number}"
        self.person = self.make_person(Random(f"{run.seed}:{number}"), name)
        self._sleep: Callable[[float], object] = self._pause
        self._pause_seconds = 0.0
        # No certificates to load: a load goes over plain HTTP.
        self._transport = _HeaderTransport(verify=False)
        self._client = Client(
            run.url,
            api_key=run.api_key,
            timeout_seconds=TIMEOUT_SECONDS,
            retrying=NO_RETRIES,
            transport=self._transport,
        )

    @abstractmethod
    def make_person(self, random: Random, name: str) -> Person:
        """Make the person."""

    @task
    def visit(self) -> None:
        """Come once."""
        self.person.visit()
        self._pause_seconds = 0.0

    def wait_time(self) -> float:
        """How long `wait` takes."""
        return self._pause_seconds

    def on_stop(self) -> None:
        """Remove what an unfinished visit has left."""
        self._sleep = gevent.sleep
        self.person.leave()
        self._client.close()

    def ask(self, call: AnyCall, pause_seconds: float = 0.0, *, may_be_gone: bool = False) -> Reply:
        """Wait, send a call, and measure until the caller has the answer."""
        self._sleep(pause_seconds)
        reply: Reply = None
        error: ClientError | None = None
        sent = time.perf_counter()
        try:
            reply = self._client.send(call)
        except ClientError as failed:
            error = failed
        seconds = time.perf_counter() - sent
        outcome, reason = outcome_of(error, may_be_gone=may_be_gone)
        headers = self._transport.headers
        self._measured(
            Measurement(
                route=route_of(call),
                outcome=outcome,
                seconds=seconds,
                reason=reason,
                retry_after="Retry-After" in headers,
                parts_ms=parts_of(headers.get("Server-Timing", "")),
            )
        )
        if outcome != "refused":
            return reply
        assert isinstance(error, ApiError)
        return Refused(error.retry_after_seconds or _MIN_WAIT_SECONDS)

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
            logger.warning("the maximum number of requests was sent; the run ends")
            # In a greenlet of its own: quitting waits for this user too.
            gevent.spawn(self.environment.runner.quit)


class ShopperUser(_PersonUser):
    """Looks around and clicks."""

    fixed_count = run.config.mixed.shoppers

    def make_person(self, random: Random, name: str) -> Person:
        """Make the person."""
        return Shopper(population, random, self.ask, run.config.mixed.think_seconds, name)


class ShopUser(_PersonUser):
    """Uploads items in bursts."""

    fixed_count = run.config.mixed.shops

    def make_person(self, random: Random, name: str) -> Person:
        """Make the person."""
        mixed = run.config.mixed
        return Shop(population, random, self.ask, 4 * mixed.think_seconds, name, mixed.batch_items)


class EmbedderUser(_PersonUser):
    """Has everything embedded again."""

    fixed_count = run.config.mixed.embedders

    def make_person(self, random: Random, name: str) -> Person:
        """Make the person."""
        return Embedder(population, random, self.ask, run.config.mixed.think_seconds, run.config.mixed.batch_items)


@events.quitting.add_listener
def _report(environment: Environment, **_: Any) -> None:
    """Write the report, and fail the run if a threshold was exceeded."""
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
