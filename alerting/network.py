"""Where messages may go: every connection is to an address that was looked at, and found public or allowed.

A receiver's name may come to stand for an address inside (a change in DNS, a stale record, somebody who wants Tocsin
to knock on an internal door). So names are looked up here, each address is judged, and the connection is made to that
very address: nobody can change the answer in between.
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, field_validator

from alerting.section import Secret, Section, checked

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")


def check_address(text: str) -> str:
    """Return an absolute http or https address unchanged.

    Raises:
        ValueError: It is not one; the message does not repeat it.
    """
    try:
        url, port = httpx.URL(text), urlsplit(text).port  # the latter checks the port's range and the brackets
    except (httpx.InvalidURL, ValueError):
        raise ValueError("not a valid address") from None
    if url.scheme not in {"http", "https"} or not url.host or port == 0:
        raise ValueError("not an absolute http:// or https:// address")
    return text


BaseAddress = Annotated[str, AfterValidator(lambda text: check_address(text).rstrip("/"))]
"""The address of a service, which paths are added to."""


def _allowed(entry: str) -> str:
    host = entry.strip().rstrip(".").lower()
    if not host or any(character in host for character in "@?#*[] ") or "//" in host:
        raise ValueError("neither an address, nor a network such as 10.0.0.0/8, nor the name of a host")
    if "/" in host:
        ip_network(host)
    return host


class NetworkConfig(Section):
    """What may be connected to beside public addresses."""

    allow: tuple[Annotated[str, AfterValidator(_allowed)], ...] = ()
    """Addresses, networks (`10.96.0.0/12`), and host names that may lead to whatever address they lead to."""
    proxy: Secret | None = None
    """An HTTP proxy for all receivers that speak HTTP; then it is the proxy that decides what may be connected to."""

    @field_validator("proxy")
    @classmethod
    def _proxy_is_an_address(cls, proxy: Secret | None) -> Secret | None:
        return None if proxy is None else checked(proxy, check_address)


class ForbiddenAddressError(Exception):
    """A name leads to an address that is neither public nor allowed; the message names the address."""


class Network:
    """Looks names up, and lets through what is public or allowed."""

    def __init__(self, allow: tuple[str, ...] = (), proxy: str | None = None) -> None:
        """`allow` and `proxy` as in NetworkConfig."""
        self.proxy = proxy
        self._hosts = set(allow)
        self._networks = []
        for entry in allow:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                continue  # a host's name

    def permits(self, host: str, address: Address) -> bool:
        """Whether `address`, which `host` leads to, may be connected to."""
        if host.rstrip(".").lower() in self._hosts:
            return True
        inner = _meant(address)
        if any(each in network for network in self._networks for each in (address, inner)):
            return True
        return all(each.is_global and not each.is_multicast for each in (address, inner))

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, in the order of preference.

        Raises:
            OSError: The name cannot be looked up.
            ForbiddenAddressError: One of them is not permitted: a name that leads inside and outside is a trick.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        for address in addresses:
            if not self.permits(host, ip_address(address)):
                raise ForbiddenAddressError(
                    f"leads to {address}, which is not a public address and not in alerting.network.allow"
                )
        return addresses

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket, for what does not speak HTTP. Raises as `addresses` does, or OSError."""
        loop, failure = asyncio.get_running_loop(), OSError("no address")
        for address in await self.addresses(host, port):
            connecting = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            connecting.setblocking(False)
            try:
                await loop.sock_connect(connecting, (address, port))
            except OSError as error:
                connecting.close()
                failure = error
            except BaseException:
                connecting.close()
                raise
            else:
                return connecting
        raise failure


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends each request to an address that the network permits, under the name that it was meant for.

    The certificate is checked against the name. Connections are not kept: each message looks anew, and a connection
    to one name is never used for another one behind the same address.
    """

    def __init__(self, network: Network, inner: httpx.AsyncBaseTransport) -> None:
        """`inner` connects; it is given addresses only."""
        self._network = network
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises ForbiddenAddressError, and httpx's errors."""
        url = request.url
        try:
            addresses = await self._network.addresses(url.host, url.port or (443 if url.scheme == "https" else 80))
        except OSError as error:
            raise httpx.ConnectError("the name cannot be looked up", request=request) from error
        extensions = {**request.extensions, "sni_hostname": url.host}
        for number, address in enumerate(addresses, 1):
            direct = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,  # among them `host`, with the name
                stream=request.stream,
                extensions=extensions,
            )
            try:
                return await self._inner.handle_async_request(direct)
            except (httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent yet
                if number == len(addresses):
                    raise
        raise httpx.ConnectError("the name has no address", request=request)

    async def aclose(self) -> None:
        """Close connections."""
        await self._inner.aclose()


def _meant(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only carries it, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    carried = address.ipv4_mapped or address.sixtofour
    return carried or (address.teredo[1] if address.teredo else address)
