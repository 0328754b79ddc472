"""Whose address a request counts for: the peer's, or what a trusted proxy says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_service.client_address import TrustedProxies

PROXIES = "10.0.0.0/8, 2001:db8:ffff::1, 192.0.2.7"


def client(peer: str | None, *forwarded: str, trusted: str = PROXIES) -> str:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    scope = {"client": None if peer is None else (peer, 1234), "headers": [(b"host", b"x"), *headers]}
    return TrustedProxies(trusted).client_of(scope)


@pytest.mark.parametrize("peer", ["198.51.100.1", "11.0.0.1", "2001:db8:ffff::2", "testclient", None])
def test_header_of_an_untrusted_peer_is_ignored(peer: str | None) -> None:
    """A client that names another address counts as itself."""
    assert client(peer, "203.0.113.9") == client(peer)


@pytest.mark.parametrize("peer", ["10.1.2.3", "192.0.2.7", "2001:db8:ffff::1", "2001:DB8:FFFF:0::1", "::ffff:10.1.2.3"])
def test_trusted_proxy_names_the_client(peer: str) -> None:
    """By address or network, however IPv6 is written, and over a dual-stack socket."""
    assert client(peer, "203.0.113.9") == "203.0.113.9"


def test_proxies_may_be_named_as_a_dual_stack_socket_shows_them() -> None:
    """`::ffff:10.0.0.1` is 10.0.0.1."""
    assert client("10.1.2.3", "203.0.113.9", trusted="::ffff:10.0.0.0/104") == "203.0.113.9"
    assert client("11.1.2.3", "203.0.113.9", trusted="::ffff:10.0.0.0/104") == "11.1.2.3"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9, 10.0.0.9,192.0.2.7"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9", "10.0.0.9"], "203.0.113.9"),
        (["10.0.0.5, 10.0.0.6"], "10.0.0.5"),
    ],
)
def test_last_entry_that_is_no_proxy_counts(forwarded: list[str], address: str) -> None:
    """What stands before it came from the client; where all are proxies, the first one asks."""
    assert client("10.0.0.1", *forwarded) == address


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::3]:4711", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::/64"),
        (" 203.0.113.9\t", "203.0.113.9"),
    ],
)
def test_entries_may_have_ports_and_brackets(entry: str, address: str) -> None:
    """As proxies write them; of IPv6 the first 64 bits count."""
    assert client("10.0.0.1", entry) == address


@pytest.mark.parametrize(
    "entry",
    [
        "",
        ",",
        "unknown",
        "_hidden",
        "203.0.113",
        "203.0.113.9:http",
        "[2001:db8::1",
        "[]",
        "2001:db8::1]:80",
        "1.1.1.\xb2",
    ],
)
def test_entry_that_is_no_address_ends_the_search(entry: str) -> None:
    """The proxy that passed it on counts, and nothing before it is believed."""
    assert client("10.0.0.1", f"203.0.113.9, {entry}") == "10.0.0.1"
    assert client("10.0.0.1", f"203.0.113.9, {entry}, 10.0.0.2") == "10.0.0.2"


def test_star_trusts_every_peer() -> None:
    """Also a peer without an address, as on a Unix socket; the first entry counts, as in uvicorn."""
    assert client("198.51.100.1", "203.0.113.9, 10.0.0.9", trusted="*") == "203.0.113.9"
    assert client(None, "203.0.113.9", trusted="*") == "203.0.113.9"
    assert client(None, trusted="*") == "unknown"


def test_number_of_entries_that_are_read_is_bounded() -> None:
    """A header full of proxies costs no more than 32 of them, and names the last that was read."""
    chain = ", ".join(f"10.0.{i // 256}.{i % 256}" for i in range(5000))

    assert client("10.0.0.1", f"203.0.113.9, {chain}") == "10.0.19.104"


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_header_gets_a_name_of_its_own(text: str) -> None:
    """Whatever comes, the answer is an address or a /64: short, so that remembered callers stay small."""
    assert len(client("10.0.0.1", text)) <= len("ffff:ffff:ffff:ffff::/64")


@pytest.mark.parametrize("text", ["", "10.0.0.1,", "proxy.example", "10.0.0.1/8", "10.0.0/8", "*, 10.0.0.1", "[::1]"])
def test_proxies_must_be_addresses_or_networks(text: str) -> None:
    """The message names the entry."""
    with pytest.raises(ValueError, match="is neither an address nor a network"):
        TrustedProxies(text)
