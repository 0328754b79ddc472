"""The client address of a request: the peer's own, or the one that a trusted proxy sends in `X-Forwarded-For`.

uvicorn's `ProxyHeadersMiddleware` reads the header for every request, needed or not. It also skips addresses of the
setting that it cannot parse, does not recognize an IPv4 proxy on a dual-stack socket (`::ffff:10.0.0.1`), and accepts
any text in the header, of any length, as an address.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

EVERYONE = "*"

_MAX_HOPS = 32
"""The last entries of the header that are read; a chain of proxies is never longer."""
_ENTRY = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|([^:\[\]]+):\d{1,5}|([^\[\]]+)")
"""An address in brackets, an IPv4 address with a port, or an address alone; brackets may be followed by a port."""
_IPV6_CLIENT_BITS = 64

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The peers whose `X-Forwarded-For` is trusted.

    Args:
        text: addresses and networks separated by commas, such as `10.0.0.0/8, ::1`, or `*` for every peer.

    Raises:
        ValueError: an entry is neither an address nor a network.
    """

    def __init__(self, text: str) -> None:
        entries = [entry.strip() for entry in text.split(",")]
        self._everyone = entries == [EVERYONE]
        self._networks = [] if self._everyone else [_network(entry) for entry in entries]

    def client_of(self, scope: Scope) -> str:
        """Return the client: an IPv4 address, the /64 network of an IPv6 address, or the peer's name.

        Each proxy appends its peer to `X-Forwarded-For`, so the last entry that is not a trusted proxy is the client;
        if all entries are trusted, it is the first one. Entries before one that is not an address are ignored.

        Args:
            scope: of an HTTP request.
        """
        peer, _ = scope.get("client") or ("unknown", 0)
        address = _address(peer)
        if not self._trusts(address):
            return str(peer) if address is None else _client(address)
        client = address
        for entry in reversed(_forwarded_for(scope)):
            named = _address(entry)
            if named is None:
                break
            client = named
            if not self._trusts(named):
                break
        return str(peer) if client is None else _client(client)

    def _trusts(self, address: Address | None) -> bool:
        if self._everyone:
            return True
        return address is not None and any(address in network for network in self._networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither an address nor a network, such as 10.0.0.1 or 10.0.0.0/8; * alone trusts every peer"
        ) from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _forwarded_for(scope: Scope) -> list[str]:
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    # Earlier entries stay in one piece, which is not an address and ends the search.
    return b",".join(values).decode("latin-1").rsplit(",", _MAX_HOPS) if values else []


def _address(text: str) -> Address | None:
    match = _ENTRY.fullmatch(text.strip())
    if match is None or match.lastindex is None:
        return None
    try:
        address = ip_address(match[match.lastindex].partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _client(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    # One subscriber usually has a whole /64 and can use any address of it.
    return str(IPv6Network((address, _IPV6_CLIENT_BITS), strict=False))
