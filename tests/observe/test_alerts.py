"""Each alert fires in the trouble that it is for, alone, and none in a healthy system: `promtool` computes it.

Needs Prometheus' own `promtool` (`apt-get install prometheus`: 19 MB to fetch, 120 MB on disk); skipped without it.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.observe.watched import ALERTS, CONFIG, alerts

REPLICAS = ("a:8000", "b:8000")
STEPS = 345
"""How long each series is; a step is a minute."""
BREAKS_AT = 40
"""The step from which on something is wrong."""
LONG_STEP = 5
"""Minutes of a step for what looks a day back; rates over five minutes see nothing in such steps."""
LONG_BREAKS_AT = 300
LOOK_BACK = {"TailShareFell", "FallbackShareRose"}
CHECKS = ("recommender", "catalogue", "encoder", "cache", "item_log", "sessions")
RECOMMENDED = {"head": 600, "tail": 300, "cold": 50, "added": 50, "fallback": 100}
"""Items a minute."""
BOUNDS = ("0.1", "1", "+Inf")
"""Of the buckets that the system has, in seconds."""

Series = dict[str, str]
"""A series -> its values, as promtool writes them."""


def constant(value: float) -> str:
    """The same value each minute."""
    return f"{value}x{STEPS}"


def counter(each: float) -> str:
    """Grows by `each` a minute."""
    return f"0+{each}x{STEPS}"


def turns(before: float, after: float) -> str:
    """One value, and another from `BREAKS_AT` on."""
    return f"{before}x{BREAKS_AT - 1} {after}x{STEPS - BREAKS_AT}"


def grows(before: float, after: float, breaks_at: int = BREAKS_AT) -> str:
    """A counter that grows by another step from `breaks_at` on."""
    return f"0+{before}x{breaks_at} {before * breaks_at + after}+{after}x{STEPS - breaks_at}"


def ends() -> str:
    """1, and nothing any more from `BREAKS_AT` on: the target's name is gone."""
    return f"1x{BREAKS_AT - 1} stale _x{STEPS - BREAKS_AT}"


def requests(at: str, route: str, status: int) -> str:
    """The series that counts the requests of a route with a status."""
    labels = f'{at}, http_route="{route}", http_response_status_code="{status}"'
    return f"http_server_request_duration_seconds_count{{{labels}}}"


def recommended_within(at: str, bound: str, status: int) -> str:
    """The series that counts requests for recommendations with a status that took at most `bound` seconds."""
    labels = f'{at}, http_route="/recommend", http_response_status_code="{status}", le="{bound}"'
    return f"http_server_request_duration_seconds_bucket{{{labels}}}"


def of_replica(instance: str) -> Series:
    """What a replica gives that is well and at work."""
    at = f'instance="{instance}"'
    return {
        f'up{{job="llmemb", {at}}}': constant(1),
        f"llmemb_start_time_seconds{{{at}}}": constant(1000),
        requests(at, "/readyz", 200): counter(12),
        requests(at, "/recommend", 200): counter(6000),
        requests(at, "/recommend", 503): counter(0),
        **{recommended_within(at, bound, 200): counter(6000) for bound in BOUNDS},
        **{recommended_within(at, bound, 429): counter(0) for bound in BOUNDS},
        f'llmemb_loaded_bundles{{{at}, bundle="new", role="current"}}': constant(1),
        f'llmemb_loaded_bundles{{{at}, bundle="old", role="previous"}}': constant(1),
        f'llmemb_pending_items{{{at}, bundle="new"}}': constant(0),
        # The previous bundle embeds nothing any more, and that is as it should be.
        f'llmemb_pending_items{{{at}, bundle="old"}}': constant(7),
        f'llmemb_left_out_items{{{at}, bundle="new"}}': constant(0),
        f'llmemb_catalogue_items{{{at}, bundle="new", source="bundle"}}': constant(1000),
        f'llmemb_catalogue_items{{{at}, bundle="new", source="added"}}': counter(5),
        f"llmemb_redis_errors_total{{{at}}}": counter(0),
        f"llmemb_encoder_restarts_total{{{at}}}": counter(0),
        f'llmemb_auth_failures_total{{{at}, reason="unknown"}}': counter(1),
        f"llmemb_concurrent_recommendations{{{at}}}": constant(3),
        f"llmemb_max_concurrent_recommendations{{{at}}}": constant(32),
        f"llmemb_queued_recommendations{{{at}}}": constant(10),
        f"llmemb_max_queued_recommendations{{{at}}}": constant(1024),
        f"llmemb_queued_items{{{at}}}": constant(100),
        f"llmemb_max_queued_items{{{at}}}": constant(2048),
        f"llmemb_fold_errors_total{{{at}}}": counter(0),
        **{f'llmemb_check_ok{{{at}, check="{check}"}}': constant(1) for check in CHECKS},
        **{
            f'llmemb_problems_total{{{at}, code="{code}"}}': counter(0)
            for code in ("storage", "overloaded", "rate_limited", "catalogue_full")
        },
        **{
            f'llmemb_recommended_items_total{{{at}, bundle="new", kind="{kind}"}}': counter(each)
            for kind, each in RECOMMENDED.items()
        },
    }


def healthy() -> Series:
    """Two replicas, and a gateway."""
    gateway = {
        'up{job="gateway", instance="g:8405"}': constant(1),
        'haproxy_backend_active_servers{proxy="service"}': constant(2),
    }
    return gateway | {name: values for instance in REPLICAS for name, values in of_replica(instance).items()}


def at(template: str, values: str, *instances: str) -> Series:
    """A series of some replicas, the first one where none is named."""
    return {template.replace("@", f'instance="{instance}"'): values for instance in instances or REPLICAS[:1]}


def slower() -> Series:
    """Half of the recommendations take up to a second."""
    return at(recommended_within("@", "0.1", 200), grows(6000, 3000), *REPLICAS)


def refused_at_once() -> Series:
    """Far more requests for recommendations are refused than answered."""
    series = [at(recommended_within("@", bound, 429), grows(0, 600_000), *REPLICAS) for bound in BOUNDS]
    return {name: values for each in series for name, values in each.items()}


TROUBLES: dict[str, tuple[Series, int, set[str]]] = {
    "nothing": ({}, 40, set()),
    "all replicas gone": (at('up{job="llmemb", @}', ends(), *REPLICAS), 2, {"ServiceDown"}),
    "a replica hangs": (
        at('up{job="llmemb", @}', turns(1, 0)), 8, {"ReplicaDown", "ReplicasFewer"}
    ),
    "a replica gone": (at('up{job="llmemb", @}', ends()), 8, {"ReplicasFewer"}),
    "scaled down long ago": (at('up{job="llmemb", @}', ends()), 40, set()),
    "a replica starts over and over": (
        at("llmemb_start_time_seconds{@}", f"1000x{BREAKS_AT} 2000 3000 4000 5000x{STEPS}"), 10, {"ReplicaRestarts"}
    ),
    "no replica ready": (
        at('llmemb_check_ok{@, check="recommender"}', turns(1, 0), *REPLICAS), 3, {"NoReplicaReady"}
    ),
    "a replica not ready": (at('llmemb_check_ok{@, check="catalogue"}', turns(1, 0)), 7, {"ReplicaNotReady"}),
    "readiness is not requested": (
        at(requests("@", "/readyz", 200), grows(12, 0)), 15, {"ReadinessNotAsked"}
    ),
    "a swap told to one replica": (
        at('llmemb_loaded_bundles{@, bundle="new", role="current"}', ends())
        | at('llmemb_loaded_bundles{@, bundle="newest", role="current"}', f"_x{BREAKS_AT} 1x{STEPS}"),
        20,
        {"BundlesDiffer"},
    ),
    "Redis away": (
        {
            name: values
            for check in ("cache", "item_log", "sessions")
            for name, values in at(f'llmemb_check_ok{{@, check="{check}"}}', turns(1, 0), *REPLICAS).items()
        }
        | at("llmemb_redis_errors_total{@}", grows(0, 12), *REPLICAS),
        4,
        {"StorageAway", "RedisErrors"},
    ),
    "writes refused": (at('llmemb_problems_total{@, code="storage"}', grows(0, 1)), 5, {"StorageErrors"}),
    "encoder away": (at('llmemb_check_ok{@, check="encoder"}', turns(1, 0)), 7, {"EncoderAway"}),
    "encoder dies over and over": (
        at("llmemb_encoder_restarts_total{@}", f"0x{BREAKS_AT} 1 2 3 4x{STEPS}"), 10, {"EncoderRestarts"}
    ),
    "encoder died once": (at("llmemb_encoder_restarts_total{@}", f"0x{BREAKS_AT} 1x{STEPS}"), 10, set()),
    "failing": (at(requests("@", "/recommend", 503), grows(0, 300)), 12, {"ErrorShare"}),
    "slow": (slower(), 17, {"AnswersSlow"}),
    "slow, and most are refused": (slower() | refused_at_once(), 17, {"AnswersSlow"}),
    "queue full": (at('llmemb_problems_total{@, code="overloaded"}', grows(0, 600)), 12, {"Overloaded"}),
    "too many requests": (at('llmemb_problems_total{@, code="rate_limited"}', grows(0, 3000)), 17, {"RateLimited"}),
    "keys are tried": (at('llmemb_auth_failures_total{@, reason="unknown"}', grows(1, 100)), 12, {"AuthFailures"}),
    "too many recommendations": (at("llmemb_concurrent_recommendations{@}", turns(3, 32)), 3, {"RankQueueNearFull"}),
    "recommendations pile up": (at("llmemb_queued_recommendations{@}", turns(10, 1000)), 3, {"RankQueueNearFull"}),
    "items pile up": (at("llmemb_queued_items{@}", turns(100, 2000)), 7, {"EncoderQueueNearFull"}),
    "items not embedded": (at('llmemb_pending_items{@, bundle="new"}', turns(0, 3)), 32, {"ItemsPending"}),
    "items left out": (at('llmemb_left_out_items{@, bundle="new"}', turns(0, 3)), 32, {"ItemsLeftOut"}),
    "a replica does not follow": (
        at('llmemb_catalogue_items{@, bundle="new", source="added"}', grows(5, 0)), 20, {"CataloguesDiffer"}
    ),
    "catalogue full": (at('llmemb_problems_total{@, code="catalogue_full"}', grows(0, 1)), 3, {"CatalogueFull"}),
    "fold fails": (at("llmemb_fold_errors_total{@}", f"0x{BREAKS_AT} 1x{STEPS}"), 3, {"FoldErrors"}),
    "fewer items of the tail": (
        {
            name: values
            for kind in ("tail", "cold", "added")
            for name, values in at(
                f'llmemb_recommended_items_total{{@, bundle="new", kind="{kind}"}}',
                grows(RECOMMENDED[kind], RECOMMENDED[kind] / 10, LONG_BREAKS_AT),
                *REPLICAS,
            ).items()
        },
        150,
        {"TailShareFell"},
    ),
    "histories come empty": (
        at(
            'llmemb_recommended_items_total{@, bundle="new", kind="fallback"}',
            grows(100, 2000, LONG_BREAKS_AT),
            *REPLICAS,
        ),
        150,
        {"FallbackShareRose"},
    ),
    "gateway gone": ({'up{job="gateway", instance="g:8405"}': ends()}, 2, {"GatewayDown"}),
    "gateway has no server": (
        {'haproxy_backend_active_servers{proxy="service"}': turns(2, 0)}, 3, {"GatewayHasNoServer"}
    ),
}  # fmt: skip
"""What is wrong -> the series that differ from the healthy system's, minutes since then, and exactly what fires."""


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: apt-get install prometheus (19 MB to fetch)")
    return found


def run(promtool: str, *arguments: str | Path) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(minute: int, names: set[str], among: str) -> dict[str, object]:
    """Exactly these fire at a minute, of those whose names are as `among` says."""
    return {
        "expr": f'group by (alertname) (ALERTS{{alertstate="firing", alertname=~"{among}"}})',
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
    }


def test_configuration_is_one_that_prometheus_takes(promtool: str) -> None:
    """And the rules that it names."""
    run(promtool, "check", "config", CONFIG)


def test_every_alert_has_its_trouble() -> None:
    """None is left out below."""
    assert set().union(*(names for _, _, names in TROUBLES.values())) == {alert.name for alert in alerts()}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_fires_its_alert_and_no_other(promtool: str, trouble: str, tmp_path: Path) -> None:
    """Before it begins none fires; after the time that the rule waits, exactly those that are for it."""
    changed, minutes, names = TROUBLES[trouble]
    step, among = (LONG_STEP, "|".join(LOOK_BACK)) if names & LOOK_BACK else (1, ".+")
    series = healthy()
    assert len(set(changed) - set(series)) <= 1, "what changes was there before, but for a new bundle"
    breaks_at = LONG_STEP * LONG_BREAKS_AT if names & LOOK_BACK else BREAKS_AT
    test = {
        "interval": f"{step}m",
        "input_series": [{"series": name, "values": values} for name, values in (series | changed).items()],
        "promql_expr_test": [firing(breaks_at - step, set(), among), firing(breaks_at + minutes, names, among)],
    }
    file = tmp_path / "test.json"  # JSON is YAML
    rules = {"rule_files": [str(ALERTS)], "evaluation_interval": f"{step}m", "tests": [test]}
    file.write_text(json.dumps(rules))

    run(promtool, "test", "rules", file)
