from pathlib import Path

import pytest

from llmemb.errors import ConfigError
from llmemb_service.settings import PREFIX, RENAMED, Settings, load_settings, log_ignored_variables, variable
from llmemb_service.settings_page import settings_page


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own variables take no part."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def test_settings_come_from_the_environment_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag overrides a variable; a flag that was not given does not."""
    monkeypatch.setenv("LLMEMB_BUNDLE", "from/environment")
    monkeypatch.setenv("LLMEMB_PORT", "1234")
    settings = load_settings({"bundle": Path("from/flag"), "port": None})

    assert settings.bundle == Path("from/flag")
    assert settings.port == 1234


def test_settings_refuse_a_misspelt_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and the one that was meant."""
    monkeypatch.setenv("LLMEMB_BUNDEL", "x")

    with pytest.raises(ConfigError, match=r"LLMEMB_BUNDEL is not a setting.*did you mean LLMEMB_BUNDLE"):
        load_settings({"bundle": Path("x")})


_KUBERNETES = {
    "LLMEMB_SERVICE_HOST": "10.0.0.9",
    "LLMEMB_SERVICE_PORT": "8000",
    "LLMEMB_SERVICE_PORT_HTTP": "8000",
    "LLMEMB_PORT": "tcp://10.0.0.9:8000",
    "LLMEMB_PORT_8000_TCP": "tcp://10.0.0.9:8000",
    "LLMEMB_PORT_8000_TCP_PROTO": "tcp",
    "LLMEMB_PORT_8000_TCP_PORT": "8000",
    "LLMEMB_PORT_8000_TCP_ADDR": "10.0.0.9",
}
"""What Kubernetes sets in each container of a namespace with a Service called llmemb."""


@pytest.mark.parametrize("service", ["LLMEMB", "LLMEMB_REDIS", "LLMEMB_SERVICE", "LLMEMB_PORT_B"])
def test_settings_ignore_what_kubernetes_sets_for_services(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, service: str
) -> None:
    """The port is the default or the flag's, and one log line lists the variables."""
    variables = {name.replace("LLMEMB", service, 1): value for name, value in _KUBERNETES.items()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert load_settings({"bundle": Path("x")}).port == 8000
    assert load_settings({"bundle": Path("x"), "port": 9000}).port == 9000
    with caplog.at_level("INFO"):
        log_ignored_variables()
    assert caplog.messages == [
        "ignored these variables, which Kubernetes sets for Services whose names begin with llmemb: "
        + ", ".join(sorted(variables))
    ]


def test_settings_take_a_port_that_replaces_the_one_of_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the pod's own has priority over the Service's of the same name; the others remain."""
    for name, value in (_KUBERNETES | {"LLMEMB_PORT": "9000"}).items():
        monkeypatch.setenv(name, value)

    assert load_settings({"bundle": Path("x")}).port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLMEMB_SERVICE_HOST", "0.0.0.0"),
        ("LLMEMB_SERVICE_PORT", "8000"),
        ("LLMEMB_REDIS_PORT", "tcp:6379"),
        ("LLMEMB_PORTS", "tcp://10.0.0.9:8000"),
    ],
)
def test_settings_refuse_a_typo_that_resembles_a_variable_of_kubernetes(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Without the address that Kubernetes sets too, or with another name, it is a misspelt setting."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=f"^{name} is not a setting of the service; did you mean LLMEMB_"):
        load_settings({"bundle": Path("x")})


def test_settings_refuse_a_typo_beside_the_variables_of_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the Services' own variables are ignored."""
    for name, value in (_KUBERNETES | {"LLMEMB_PROT": "8000"}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=r"^LLMEMB_PROT is not a setting of the service; did you mean LLMEMB_PORT\?"):
        load_settings({"bundle": Path("x")})


@pytest.mark.parametrize(("old", "field"), RENAMED.items())
def test_settings_refuse_an_old_name_by_the_new_one(monkeypatch: pytest.MonkeyPatch, old: str, field: str) -> None:
    """The message names both, and the new one is a setting."""
    monkeypatch.setenv(f"{PREFIX}{old}", "1")

    with pytest.raises(ConfigError, match=f"^{PREFIX}{old} has been renamed: set {variable(field)} instead$"):
        load_settings({"bundle": Path("x")})


def test_settings_without_a_bundle_say_how_to_give_one() -> None:
    """The one setting that has no default is named, as variable and as flag."""
    with pytest.raises(ConfigError, match="LLMEMB_BUNDLE is not set, nor --bundle given"):
        load_settings({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLMEMB_PORT", "http"),
        ("LLMEMB_MAX_K", "0"),
        ("LLMEMB_DEVICE", "gpu"),
        ("LLMEMB_READINESS_CACHE_SECONDS", "-1"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1, proxy"),
    ],
)
def test_settings_refuse_a_bad_value_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The message names the variable."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=name):
        load_settings({"bundle": Path("x")})


def test_trusted_proxies_come_from_the_variable_of_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no prefix, and with ours it is no setting; a bad entry is named."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    assert load_settings({"bundle": Path("x")}).forwarded_allow_ips == "10.0.0.0/8"

    monkeypatch.setenv("LLMEMB_FORWARDED_ALLOW_IPS", "*")
    with pytest.raises(
        ConfigError, match=r"LLMEMB_FORWARDED_ALLOW_IPS is not a setting.*did you mean FORWARDED_ALLOW_IPS"
    ):
        load_settings({"bundle": Path("x")})
    monkeypatch.delenv("LLMEMB_FORWARDED_ALLOW_IPS")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1, proxy")
    with pytest.raises(ConfigError, match=r"^FORWARDED_ALLOW_IPS: 'proxy' is neither an address nor a network"):
        load_settings({"bundle": Path("x")})


@pytest.mark.parametrize("name", ["max_queued_items", "max_queued_recommendations"])
def test_settings_refuse_a_queue_that_holds_no_whole_request(name: str) -> None:
    """Such a request could never be answered."""
    with pytest.raises(ConfigError, match=f"^{name} is 10"):
        load_settings({"bundle": Path("x"), name: 10})


def test_settings_treat_an_empty_variable_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass variables on empty."""
    monkeypatch.setenv("LLMEMB_REDIS_URL", "")

    assert load_settings({"bundle": Path("x")}).redis_url is None


@pytest.mark.parametrize("name", ["redis_url", "encoder_api_key", "milvus_token"])
def test_settings_hide_secrets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither the text of the settings nor an error shows one."""
    monkeypatch.setenv(f"LLMEMB_{name.upper()}", "redis://:hunter2@localhost")

    assert "hunter2" not in repr(load_settings({"bundle": Path("x")}))
    with pytest.raises(ConfigError) as refused:
        load_settings({"bundle": Path("x"), "max_k": 0})
    assert "hunter2" not in str(refused.value)


def test_settings_cannot_be_changed() -> None:
    """What was checked stays so."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings({"bundle": Path("x")}).port = 1  # type: ignore[misc]


def test_settings_page_is_fresh() -> None:
    """docs/settings.md is what `python -m llmemb_service.settings_page` writes now."""
    page = Path(__file__).parents[3] / "docs" / "settings.md"

    assert page.read_text(encoding="utf-8") == settings_page()


def test_settings_page_explains_every_setting() -> None:
    """Each has a description, and none is left out."""
    page = settings_page()

    for name, field in Settings.model_fields.items():
        assert f"| `{variable(name)}` |" in page
        assert field.description
