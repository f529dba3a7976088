"""What a database connection accepts, derives, refuses and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.testing.live import COMMON_KEYS
from mooring.types.database import TYPE
from mooring.types.database.model import DRIVER_TYPES, PORT_TYPES, DatabaseConfig

BODIES = json.loads(Path(__file__).with_name("bodies.json").read_text())
EXAMPLE = json.loads(Path(__file__).parent.parent.joinpath("example.json").read_text())
URL = "jdbc:postgresql://h.example:5432/db"


def read(**fields):
    return read_config(DatabaseConfig, {"username": "u", "password": "p4ss-word", **fields})


def refused(**fields):
    with pytest.raises(InvalidConfig) as caught:
        read(**fields)
    return {problem.path: problem for problem in caught.value.problems}


def typed(body):
    return {key: value for key, value in body.items() if key not in COMMON_KEYS}


@pytest.mark.parametrize("body", [*BODIES["accepted"], EXAMPLE])
def test_documented_bodies_are_accepted(body):
    """Every documented shape is accepted, and what was given is echoed as given."""
    wire = read_config(DatabaseConfig, typed(body)).wire()

    for key, value in typed(body).items():
        if value is not None and not isinstance(value, str):
            assert wire[key] == value
    assert wire["jdbcUrl"] == body.get("jdbcUrl")


@pytest.mark.parametrize("case", BODIES["refused"])
def test_broken_bodies_are_refused(case):
    """Every broken rule is refused at its field, and no sent secret is in the message."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(DatabaseConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_defaults():
    """The documented defaults hold where a field is left out or null."""
    wire = read(jdbcUrl=URL, maxPoolSize=None).wire()

    assert {
        "useCredentials": True, "initialPoolSize": 1, "minPoolSize": 1, "maxPoolSize": 5, "incrementCount": 1,
        "maxStatements": 100, "idleConnectionTestPeriod": 30000, "connectionTimeout": 30000,
        "testConnectionOnCheckout": True, "testConnectionOnCheckin": False, "maxConnectionAge": 180000,
        "maxIdleTime": 120000, "verifyHostname": True, "selectedEnvironmentId": None,
    }.items() <= wire.items()  # fmt: skip


def test_fields_stand_in_the_documented_order():
    """The fields come in the order of the contract, ours last."""
    keys = list(read(jdbcUrl=URL).wire())

    assert keys[:4] == ["dbType", "jdbcUrl", "useCredentials", "username"]
    assert keys[-3:] == ["trustStoreName", "keyStoreName", "verifyHostname"]


@pytest.mark.parametrize(("driver", "found"), DRIVER_TYPES.items())
def test_driver_tells_the_product(driver, found):
    """A driver's name tells the product where no address does."""
    assert read(host="h", driverClassName=driver).db_type == found


@pytest.mark.parametrize(("port", "found"), PORT_TYPES.items())
def test_port_tells_the_product(port, found):
    """A well-known port tells the product where nothing else does."""
    assert read(host="h", port=port).db_type == found


def test_derivation_goes_in_the_documented_order():
    """An explicit dbType wins over the address, the address over the driver, the driver over the port."""
    driver, port = "org.postgresql.Driver", 3306

    assert read(host="h", port=port).db_type == "MYSQL"
    assert read(host="h", port=port, driverClassName=driver).db_type == "POSTGRES"
    assert read(jdbcUrl="jdbc:db2://h:1/d", port=port, driverClassName=driver).db_type == "DB2"
    assert read(jdbcUrl="jdbc:db2://h:1/d", dbType="ORACLE", port=port).db_type == "ORACLE"


def test_derived_product_is_stored():
    """The product that was derived is in the wire form, so it is kept when a later request omits everything that told it."""
    assert read(jdbcUrl=URL).wire()["dbType"] == "POSTGRES"
    assert read(host="h", port="3306").wire()["dbType"] == "MYSQL"


def test_underivable_product_is_a_problem_of_db_type():
    """A product that nothing tells is a problem at dbType that names every field of the rule."""
    problem = refused(host="h")["/dbType"]

    assert problem.code == "required"
    assert all(name in problem.message for name in ("dbType", "jdbcUrl", "driverClassName", "port"))


def test_address_is_needed():
    """Neither jdbcUrl nor host is a problem at jdbcUrl that names both."""
    problem = refused(dbType="MYSQL")["/jdbcUrl"]

    assert problem.code == "required"
    assert "host" in problem.message


def test_login_is_needed_when_used():
    """Without name and password, login must be switched off; every missing one is named."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(DatabaseConfig, {"jdbcUrl": URL})

    assert [problem.path for problem in caught.value.problems] == ["/username", "/password"]
    assert read_config(DatabaseConfig, {"jdbcUrl": URL, "useCredentials": False}).username is None


def test_pool_order_names_both_fields():
    """A pool that begins larger than it may become is refused, and both fields are named."""
    problem = refused(jdbcUrl=URL, minPoolSize=9)["/minPoolSize"]

    assert problem.code == "pool_order"
    assert "maxPoolSize" in problem.message


def test_pool_sizes_by_variable_are_not_compared():
    """A size that a variable decides breaks no rule."""
    assert read(jdbcUrl=URL, maxPoolSize="${n}", minPoolSize=9).max_pool_size == "${n}"


def test_target_of_an_address():
    """jdbcUrl wins over host, port and databaseName."""
    target = read(jdbcUrl=URL, host="other", port=1, databaseName="other").target()

    assert (target.host, target.port, target.database) == ("h.example", 5432, "db")


def test_database_name_fills_an_address_without_one():
    """databaseName counts where jdbcUrl names no database."""
    assert read(jdbcUrl="jdbc:postgresql://h/", databaseName="db").target().database == "db"
    assert read(jdbcUrl="jdbc:postgresql://h/", databaseName="").target().database is None


def test_target_of_parts():
    """Without jdbcUrl the address is made from the parts, with the product's port; nothing is added to what is echoed."""
    config = read(dbType="MYSQL", host="h")

    assert config.target().endpoints == [("h", 3306)]
    assert config.wire()["jdbcUrl"] is None


def test_secrets_round_trip():
    """The password and the credentials in jdbcUrl leave holes, and come back into them."""
    wire = read(jdbcUrl="jdbc:postgresql://h/db?user=x&password=url-s3cret").wire()

    public, secrets = split(DatabaseConfig, wire)

    assert secrets == {"password": "p4ss-word", "jdbcUrl/password": "url-s3cret"}
    assert "s3cret" not in json.dumps(public).replace("__secret__", "")
    assert "p4ss-word" not in json.dumps(public)
    assert join(DatabaseConfig, public, secrets) == (wire, set(secrets))


def test_placeholder_without_a_stored_secret_is_refused():
    """A placeholder that nothing is stored for is a problem."""
    with pytest.raises(InvalidConfig) as caught:
        read(jdbcUrl="jdbc:postgresql://h/db?user=x&password=__secret__")

    assert caught.value.problems[0].code == "secret_required"


@pytest.mark.parametrize(
    "field",
    ["jdbcUrl", "username", "databaseName", "password", "initialPoolSize", "minPoolSize", "maxPoolSize", "incrementCount",
     "maxStatements", "idleConnectionTestPeriod", "connectionTimeout", "maxConnectionAge", "maxIdleTime",
     "selectedEnvironmentId", "host", "port", "driverClassName", "defaultLogSchema", "dbType", "errorThresholdValue",
     "sleepWindow", "trustStoreName", "keyStoreName"],
)  # fmt: skip
def test_variables_are_accepted(field):
    """Every text and number may be a variable."""
    assert read(**{"jdbcUrl": URL, field: "${x}"}).wire()[field] == "${x}"


def test_variable_address_needs_no_product_yet():
    """An address that a variable holds tells its product when it is resolved."""
    assert read(jdbcUrl="${url}").db_type is None
    assert read(jdbcUrl="${url}", port=3306).db_type is None


def test_destination():
    """What decides where the password goes is a destination."""
    assert set(read(jdbcUrl=URL).destination()) == {
        "dbType", "jdbcUrl", "useCredentials", "username", "host", "port", "trustStoreName", "keyStoreName", "verifyHostname",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({"jdbcUrl": URL}, ["tls_unverified"]),
        ({"jdbcUrl": "jdbc:postgresql://localhost/db"}, []),
        ({"jdbcUrl": URL + "?sslmode=verify-full"}, []),
        ({"jdbcUrl": URL, "trustStoreName": "t"}, []),
        ({"jdbcUrl": URL + "?sslmode=disable", "trustStoreName": "t"}, ["unused_store", "tls_unverified"]),
        ({"jdbcUrl": URL + "?sslmode=verify-full", "dbType": "MYSQL"}, ["type_vs_url"]),
        ({"jdbcUrl": URL + "?sslmode=verify-full", "host": "other"}, ["url_wins"]),
        ({"jdbcUrl": URL + "?sslmode=verify-full", "useCredentials": False}, ["unused_password"]),
        ({"jdbcUrl": "jdbc:oracle:thin:@h:1521:X"}, ["tls_unverified"]),
        ({"jdbcUrl": "jdbc:oracle:thin:@tcps://h:1521/X"}, []),
        ({"jdbcUrl": "jdbc:sqlserver://h"}, []),
        ({"jdbcUrl": "${url}"}, []),
    ],
)
def test_warnings(fields, codes):
    """What is probably not meant is accepted with a warning."""
    assert [problem.code for problem in read(**fields).warnings()] == codes


@pytest.mark.parametrize(
    ("url", "fields", "mode"),
    [
        ("jdbc:postgresql://h/d", {}, "prefer"),
        ("jdbc:postgresql://h/d?sslmode=require", {}, "require"),
        ("jdbc:postgresql://h/d?sslmode=require", {"trustStoreName": "t"}, "verify-ca"),
        ("jdbc:postgresql://h/d?ssl=true", {}, "verify-full"),
        ("jdbc:postgresql://h/d", {"trustStoreName": "t"}, "verify-full"),
        ("jdbc:postgresql://h/d", {"trustStoreName": "t", "verifyHostname": False}, "verify-ca"),
        ("jdbc:postgresql://h/d?sslmode=verify-full", {"verifyHostname": False}, "verify-ca"),
        ("jdbc:mysql://h/d", {}, "prefer"),
        ("jdbc:mysql://h/d?useSSL=false", {}, "disable"),
        ("jdbc:mysql://h/d?useSSL=true", {}, "prefer"),
        ("jdbc:mysql://h/d?useSSL=true&requireSSL=true", {}, "require"),
        ("jdbc:mysql://h/d?useSSL=true&verifyServerCertificate=true", {}, "verify-ca"),
        ("jdbc:mysql://h/d?sslMode=VERIFY_IDENTITY", {}, "verify-full"),
        ("jdbc:mariadb://h/d?sslMode=verify-ca", {}, "verify-ca"),
        ("jdbc:mariadb://h/d?sslMode=trust", {}, "require"),
        ("jdbc:oracle:thin:@h:1521:X", {}, "disable"),
        ("jdbc:oracle:thin:@h:1521:X", {"trustStoreName": "t"}, "verify-full"),
        ("jdbc:oracle:thin:@tcp://h:1521/X", {"trustStoreName": "t"}, "disable"),
        ("jdbc:oracle:thin:@tcps://h:1521/X", {}, "verify-full"),
        ("jdbc:oracle:thin:@tcps://h:1521/X?ssl_server_dn_match=off", {}, "verify-ca"),
        ("jdbc:sqlserver://h", {}, "verify-full"),
        ("jdbc:sqlserver://h;encrypt=true;trustServerCertificate=true", {}, "require"),
        ("jdbc:sqlserver://h;encrypt=true;trustServerCertificate=true", {"trustStoreName": "t"}, "verify-ca"),
        ("jdbc:sqlserver://h;encrypt=false", {}, "allow"),
        ("jdbc:sqlserver://h;encrypt=strict", {}, "verify-full"),
        ("jdbc:sqlserver://h", {"verifyHostname": False}, "verify-ca"),
        ("jdbc:trino://h/c", {}, "disable"),
        ("jdbc:trino://h:443/c", {}, "verify-full"),
        ("jdbc:trino://h/c?SSL=true", {}, "verify-full"),
        ("jdbc:trino://h/c?SSL=true&SSLVerification=CA", {}, "verify-ca"),
        ("jdbc:trino://h/c?SSL=true&SSLVerification=NONE", {}, "require"),
        ("mongodb://h/d", {}, "disable"),
        ("mongodb+srv://h/d", {}, "verify-full"),
        ("mongodb://h/d?tls=true&tlsAllowInvalidHostnames=true", {}, "verify-ca"),
        ("jdbc:hive2://h/d;ssl=true", {}, "verify-full"),
        ("jdbc:impala://h/d;SSL=1;AllowSelfSignedCerts=1", {}, "require"),
        ("jdbc:impala://h/d;SSL=1;CAIssuedCertNamesMismatch=1", {}, "verify-ca"),
        ("jdbc:db2://h:1/d:sslConnection=true;", {}, "verify-full"),
        ("jdbc:sybase:Tds:h:1/d?ENABLE_SSL=true", {}, "verify-full"),
    ],
)
def test_tls_mode(url, fields, mode):
    """The TLS mode is what the address says in its driver's words, and what the stores imply."""
    config = read(jdbcUrl=url, **fields)

    assert config.tls_mode(config.target()) == mode


def test_references_are_those_that_are_used():
    """A store is referred to only where the TLS mode uses it."""
    assert read(jdbcUrl=URL, trustStoreName="t").references() == {"trustStoreName": "t"}
    assert read(jdbcUrl=URL + "?sslmode=disable", trustStoreName="t").references() == {}


def test_card():
    """The name card carries the wire name, and importing it imports no driver."""
    assert TYPE.name == "database"
    assert TYPE.config is DatabaseConfig
