"""Oracle without an Oracle: what is sent there, and what its refusals mean."""

from __future__ import annotations

import oracledb
import pytest
from tests.support.services import closed_port

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.database.jdbc import parse
from mooring.types.database.oracle import _bound, translated
from mooring.types.database.oracle_url import oracle_descriptor
from mooring.types.database.tests.fakes import FakeOracleListener
from mooring.types.database.tests.support import query


def body_of(port, place="/ORCL", **fields):
    return {
        "type": "database", "name": "ledger", "jdbcUrl": f"jdbc:oracle:thin:@//127.0.0.1:{port}{place}",
        "username": "app", "password": "s3cret-passw0rd", **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [(12514, Misconfigured, "no service or SID"), (12505, Misconfigured, "no service or SID"),
     (12528, Unreachable, "takes no connections now"), (12520, Unreachable, "takes no connections now")],
)  # fmt: skip
async def test_refusal_of_a_listener(code, kind, says):
    """A listener's refusal tells whose move it is, at the step login."""
    async with FakeOracleListener(code) as fake, connected(body_of(fake.port)) as guard:
        with pytest.raises(kind, match=says) as caught:
            await query(guard, "select 1 from dual")
        report = await guard.probe()

    assert caught.value.hint
    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"), ("connect", "passed"), ("tls", "skipped"), ("login", "failed"),
    ]  # fmt: skip


async def test_closed_port():
    """A closed port is Unreachable, at the step connect."""
    async with connected(body_of(closed_port())) as guard:
        with pytest.raises(Unreachable, match="refused the connection"):
            await query(guard, "select 1 from dual")
        report = await guard.probe()

    assert report.failure.name == "connect"


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("ORA-01017: invalid username/password; logon denied", Rejected, "refused the login"),
        ("ORA-28000: The account is locked.", Rejected, "refused the login"),
        ("DPY-3015: password verifier type 0x939 is not supported", Rejected, "refused the login"),
        ("ORA-00060: deadlock detected", Unreachable, "others held"),
        ("ORA-00942: table or view does not exist", Misconfigured, "may not see it"),
        ("ORA-00001: unique constraint (A.B) violated on g3heim", Misconfigured, "duplicate key"),
        ("ORA-01722: invalid number g3heim", Misconfigured, "does not fit"),
        ("ORA-00933: SQL command not properly ended near g3heim", Misconfigured, "refused the statement"),
        ("DPY-4011: the database or network closed the connection", Unreachable, "was lost"),
        ("ORA-01013: user requested cancel", Unreachable, "stopped the statement"),
        ("ORA-01653: unable to extend table", Unreachable, "no room left"),
        ("ORA-01031: insufficient privileges", Misconfigured, "does not let"),
        ("DPY-6005: cannot connect to database. Connection failed with \"timed out\"", Unreachable, "in time"),
    ],
)  # fmt: skip
def test_what_a_code_means(text, kind, says):
    """Each of Oracle's numbers is told in our words, with the number and without data."""
    error = translated(oracledb.DatabaseError(text), "db:1521")

    assert type(error) is kind
    assert says in error.message
    assert "g3heim" not in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("url", "secured", "expected"),
    [
        ("jdbc:oracle:thin:@h:1521:X", False, "(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=h)(PORT=1521))(CONNECT_DATA=(SID=X)))"),
        ("jdbc:oracle:thin:@tcps://h:2484/svc?retry_count=3", True,
         "(DESCRIPTION=(RETRY_COUNT=3)(ADDRESS=(PROTOCOL=tcps)(HOST=h)(PORT=2484))(CONNECT_DATA=(SERVICE_NAME=svc)))"),
        ("jdbc:oracle:thin:@//a:1,b:2/svc:dedicated", False,
         "(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=a)(PORT=1))(ADDRESS=(PROTOCOL=tcp)(HOST=b)(PORT=2))"
         "(CONNECT_DATA=(SERVICE_NAME=svc)(SERVER=dedicated)))"),
    ],
)  # fmt: skip
def test_descriptor_is_made_from_the_parts(url, secured, expected):
    """What the client library gets is written anew, from parts that are allowed."""
    assert oracle_descriptor(parse(url), secured=secured) == expected


async def test_database_name_cannot_add_to_the_descriptor():
    """A databaseName with brackets is refused when the connection is made."""
    body = {
        "type": "database", "name": "d", "dbType": "ORACLE", "host": "h", "username": "u", "password": "p",
        "databaseName": "X)(SECURITY=(WALLET=/etc))",
    }  # fmt: skip
    with pytest.raises(Misconfigured, match="not a name"):
        async with connected(body):
            pass


@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("select ?, q'[it's ?]', '?' from dual;", [1], ("select :1, q'[it's ?]', '?' from dual", [1])),
        ("select :a, :a from dual", {"a": 1}, ("select :1, :2 from dual", [1, 1])),
        ("select :1, :2 from dual", [1, 2], ("select :1, :2 from dual", [1, 2])),
        ("begin x := ?; end;", [1], ("begin x := :1; end;", [1])),
    ],
)
def test_placeholders(sql, parameters, expected):
    """Placeholders become numbers; Oracle's own are kept; a block keeps its semicolon, a statement does not."""
    assert _bound(sql, parameters) == expected
