"""Where messages may go: addresses that are judged, and connected to as they were judged."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.network import ForbiddenAddressError, Network, NetworkConfig
from alerting.post import client, post
from alerting.receiver import Reason, SendError
from tests.kit.http_server import Server, reply

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "198.18.0.1"),
    *("::", "::1", "fe80::1", "fd00::1", "fc00::1", "ff02::1", "ff0e::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::", "2001:0:1:2:3:4:80ff:fffe"),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_is_refused(address: str) -> None:
    assert not Network().permits("example.com", ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_fine(address: str) -> None:
    assert Network().permits("example.com", ip_address(address))


@given(st.ip_addresses(v=4, network="10.0.0.0/8"), st.sampled_from(["", "::ffff:", "64:ff9b::"]))
def test_no_disguise_helps_and_what_is_allowed_is_allowed_in_every_disguise(inside: Any, prefix: str) -> None:
    address = ip_address(f"{prefix}{inside}")
    assert not Network().permits("example.com", address)
    assert Network(("10.0.0.0/8",)).permits("example.com", address)
    assert not Network(("192.168.0.0/16", "10.0.0.1.example")).permits("example.com", address)


def test_a_host_may_be_allowed_by_its_name() -> None:
    network = Network(NetworkConfig(allow=("Alertmanager.Monitoring.svc.",)).allow)
    assert network.permits("alertmanager.monitoring.svc", ip_address("10.1.2.3"))
    assert not network.permits("evil.alertmanager.monitoring.svc", ip_address("10.1.2.3"))
    assert not network.permits("monitoring.svc", ip_address("10.1.2.3"))


@pytest.mark.parametrize("entry", ["", "10.0.0.0/33", "http://x", "10.0.0.1/8", "a b", "user@host", "[::1]", "*"])
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError):
        NetworkConfig(allow=(entry,))


def send(address: str, network: Network) -> SendError | int:
    async def scenario() -> SendError | int:
        http = client(network)
        try:
            return (await post(http, address, b"{}", now=0.0)).status
        except SendError as error:
            return error
        finally:
            await http.aclose()

    return asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"])
def test_nothing_inside_is_connected_to(server: Server, host: str) -> None:
    error = send(f"http://{host}:{server.server_port}/", Network())
    assert isinstance(error, SendError)
    assert (error.reason, error.passing) == (Reason.FORBIDDEN, True)
    assert "not a public address" in str(error)
    assert server.requests == []


def test_what_is_allowed_is_connected_to_under_its_own_name(server: Server) -> None:
    assert send(f"http://localhost:{server.server_port}/x", Network(("127.0.0.1", "::1"))) == 200
    assert server.requests[0].headers["host"] == f"localhost:{server.server_port}"
    assert send(f"http://localhost:{server.server_port}/x", Network(("localhost",))) == 200


def answering(*answers: list[str]) -> Callable[..., Any]:
    """A name server that says something else each time."""
    left = list(answers)

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in left.pop(0)]

    return getaddrinfo


def test_a_name_that_changes_its_mind_is_looked_up_once_for_each_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(("127.0.0.2",))

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        # A second lookup between the check and the connection would find 127.0.0.1, which listens.
        monkeypatch.setattr(loop, "getaddrinfo", answering(["127.0.0.2"], ["127.0.0.1"]))
        http = client(network)
        with pytest.raises(SendError, match="could not connect"):
            await post(http, f"http://rebind.example:{server.server_port}/", b"{}", now=0.0)
        with pytest.raises(SendError, match=r"leads to 127\.0\.0\.1"):
            await post(http, f"http://rebind.example:{server.server_port}/", b"{}", now=0.0)
        await http.aclose()

    asyncio.run(scenario())
    assert server.requests == []


def test_one_address_inside_among_others_is_a_trick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answering(["1.1.1.1", "10.0.0.1"]))
        with pytest.raises(ForbiddenAddressError):
            await Network().addresses("rebind.example", 443)

    asyncio.run(scenario())


def test_the_next_address_is_tried_where_one_does_not_listen(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        # The second lookup is the transport's own, of an address.
        answers = answering(["127.0.0.9", "127.0.0.1"])
        real = loop.getaddrinfo
        first = [True]

        async def getaddrinfo(*args: Any, **more: Any) -> Any:
            return await (answers if first and first.pop() else real)(*args, **more)

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        http = client(Network(("127.0.0.0/8",)))
        answer = await post(http, f"http://two.example:{server.server_port}/", b"{}", now=0.0)
        assert answer.status == 200
        await http.aclose()

    asyncio.run(scenario())


def test_a_socket_for_what_is_not_http(server: Server) -> None:
    async def scenario() -> None:
        (await Network(("127.0.0.1",)).connect("127.0.0.1", server.server_port)).close()
        with pytest.raises(ForbiddenAddressError):
            await Network().connect("127.0.0.1", server.server_port)
        with pytest.raises(ConnectionRefusedError):
            await Network(("127.0.0.0/8",)).connect("127.0.0.9", server.server_port)

    asyncio.run(scenario())


def test_a_proxy_is_used_for_everything_and_no_other_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [reply(204)]
    assert send("http://hooks.example.com/x", Network((), server.address)) == 204
    assert server.requests[0].path == "http://hooks.example.com/x"
    monkeypatch.setenv("HTTP_PROXY", server.address)
    error = send("http://10.0.0.1/x", Network())
    assert isinstance(error, SendError)
    assert error.reason is Reason.FORBIDDEN
    assert httpx.URL(server.address).host == "127.0.0.1"
