"""No room goes around the network that its context gives it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import ConnectorError, EgressDenied
from mooring.kit.egress import Egress
from mooring.plugin.connector import Context
from mooring.plugin.registry import Registry
from mooring.testing.conformance import built
from mooring.testing.live import connected
from mooring.types.kafka.tests.bodies import body as kafka_body
from tests.egress.denied import NAME, PLACE, WITHOUT_THE_PLACE, Listener, allowed, looked_up
from tests.support.targets import variants

TYPES = Path(__file__).parents[2] / "src" / "mooring" / "types"
AROUND = re.compile(
    r"asyncio\.open_connection\(|getaddrinfo\(|gethostbyname|socket\.create_connection\(|AsyncHTTPTransport\("
    r"|httpx2\.AsyncClient\(|\.create_connection\((?!.*sock=)|sock_connect\("
)
JUDGED = {
    "snmp/exchange.py": "connects to addresses that were judged",
    "database/postgres.py": "the loop that the library is given, which dials by the network",
    "kafka/brokers.py": "looks up in a thread, and judges what it finds",
}


def test_rooms_dial_by_their_network_alone():
    """Whoever looks a name up or connects by other means is listed here, with the reason."""
    around = {
        str(path.relative_to(TYPES))
        for path in TYPES.rglob("*.py")
        if "tests" not in path.parts and AROUND.search(path.read_text("utf-8"))
    }

    assert around <= set(JUDGED), around - set(JUDGED)


@pytest.mark.parametrize("card", [card for card in Registry() if card.name != "logback"], ids=lambda card: card.name)
async def test_every_type_names_the_hosts_that_it_dials(card):
    """So is a denied address in a config known before anything is dialled."""
    connector = built(card)
    await connector.open()

    try:
        assert list(connector.hosts())
    finally:
        await connector.close()


@pytest.mark.parametrize(
    "url",
    [
        "jdbc:postgresql://10.0.0.1:5432,{host}:5432/d", "jdbc:mysql://10.0.0.1:3306,{host}:3306/d",
        "jdbc:mongodb://10.0.0.1:27017,{host}:27017/d", "jdbc:sqlserver://{host}:1433;databaseName=d",
        "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST={host})(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=s)))",
        "jdbc:trino://{host}:8080/c/s?SSL=true", "jdbc:hive2://{host}:10000/d", "jdbc:impala://{host}:21050/d",
        "jdbc:db2://{host}:50000/d", "jdbc:jtds:sybase://{host}:5000/d",
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "2130706433"])
async def test_every_host_of_a_jdbc_url_counts(url, host):
    """A denied address anywhere in jdbcUrl is refused when the client is built."""
    for product, driver in (("db2", "ibm_db_dbi"), ("sybase", "pyodbc")):
        if product in url:
            pytest.importorskip(driver, exc_type=ImportError)
    body = {
        "type": "database", "name": "d", "jdbcUrl": url.format(host=host), "useCredentials": True,
        "username": "u", "password": "p",
    }  # fmt: skip

    with pytest.raises(EgressDenied):
        async with connected(body, allowed=allowed(Egress())):
            pass


LISTS: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("rabbitmq", lambda host: {"hostPortList": [{"host": "10.0.0.1", "port": 5672}, {"host": host, "port": 5672}]}),
    ("activemq", lambda host: {"brokerURL": f"failover:(tcp://10.0.0.1:61616,tcp://{host}:61616)"}),
    (
        "elasticsearch",
        lambda host: {
            "encryptCommunication": False,
            "elasticHostList": [
                {"scheme": "http", "host": "10.0.0.1", "port": 9200}, {"scheme": "http", "host": host, "port": 9200},
            ]
        },
    ),
    ("kafka", lambda host: kafka_body(f"10.0.0.1:9092,{host}:9092", enableSecure=False)),
]  # fmt: skip


@pytest.mark.parametrize("room,changed", LISTS, ids=[room for room, _ in LISTS])
@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "2130706433"])
async def test_every_host_of_a_list_counts(room, changed, host):
    """A denied address that stands behind an allowed one denies the whole definition, when it is built."""
    body = json.loads((TYPES / room / "example.json").read_text("utf-8")) | changed(host)
    body = {key: value for key, value in body.items() if not key.endswith(("StoreName", "tificateName"))}

    with pytest.raises(EgressDenied):
        async with connected(body, allowed=allowed(Egress())):
            pass


async def test_every_name_of_kafka_s_list_is_judged_before_the_first_use():
    """The driver picks a broker as it likes: one name that leads to a denied address denies the use."""
    with Listener() as listener, looked_up(lambda name: PLACE if name == NAME else None):
        body = kafka_body(f"127.0.0.1:1,{NAME}:{listener.port}")
        async with connected(body, allowed=allowed(WITHOUT_THE_PLACE)) as guard:
            with pytest.raises(EgressDenied):
                await guard.use("publish", {"value": "v"}, 5)

        assert listener.look() == 0


REDIRECTED = ("webhook-http", "ops-genie-plain", "elasticsearch-Elasticsearch_7_without_login")


@pytest.mark.parametrize("variant", [each for each in variants() if each.id in REDIRECTED], ids=lambda each: each.id)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_a_denied_address_is_not_followed(variant, status):
    """What answers with another place is not believed: nothing arrives there, from a use or from a probe."""
    with variant.opening() as target, Listener() as listener:
        assert target.aimed is not None
        seen = list[bytes]()

        async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):
                seen.append(await reader.readuntil(b"\r\n\r\n"))
            place = f"http://{PLACE}:{listener.port}/"
            writer.write(f"HTTP/1.1 {status} X\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()

        async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as server:
            body = target.aimed(dict(target.body), "127.0.0.1", server.sockets[0].getsockname()[1])
            async with connected({**body, "name": "x"}, allowed=allowed(WITHOUT_THE_PLACE)) as guard:
                with contextlib.suppress(ConnectorError):
                    await guard.use(target.operation, dict(target.request), 5)
                await guard.probe(5)

        assert seen
        assert listener.look() == 0


async def test_a_name_that_changes_its_address_is_looked_up_once():
    """The address that was judged is the one that is connected to: a second answer is not asked for."""
    answers = iter(["127.0.0.1", PLACE, PLACE])
    network = Context("t/t", allowed=allowed(WITHOUT_THE_PLACE)).network
    with Listener("127.0.0.1") as right, Listener() as wrong, looked_up(lambda name: next(answers)) as asked:
        (await network.connect("rebound.example", right.port)).close()

        with pytest.raises(EgressDenied):
            await network.connect("rebound.example", wrong.port)

    assert asked == ["rebound.example"] * 2


async def test_a_webhook_is_rebound_to_nothing():
    """A name that leads elsewhere at the second look-up: the first call goes where it was judged, the next is refused."""
    answers = iter(["127.0.0.1", PLACE])
    with Listener("127.0.0.1") as right, looked_up(lambda name: next(answers) if name == "rebound.example" else None):
        body = {
            "type": "webhook", "name": "w", "fullUrl": f"http://rebound.example:{right.port}/", "httpMethod": "POST",
        }  # fmt: skip
        async with connected(body, allowed=allowed(WITHOUT_THE_PLACE)) as guard:
            with pytest.raises(Exception) as first:
                await guard.use("send", {}, 1)
            touched = right.look()
            with pytest.raises(EgressDenied):
                await guard.use("send", {}, 1)

    assert touched == 1 and not isinstance(first.value, EgressDenied)
