"""Addresses: what is read, what is refused, and where their credentials are found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.plugin.config import join, split
from mooring.plugin.secrets import PLACEHOLDER
from mooring.types.database.address import Endpoint, JdbcUrl, UrlRefused
from mooring.types.database.jdbc import credential_spans, dialect_of, parse, problems_of_url, render
from mooring.types.database.model import DatabaseConfig
from mooring.types.database.parameters import FLAG, NUMBER, PARAMETERS, PASSWORD, TEXT, USER

HOSTILE = json.loads(Path(__file__).with_name("hostile_urls.json").read_text())

ACCEPTED = [
    ("jdbc:postgresql://h:5432/db", "POSTGRES", "h", 5432, "db"),
    ("jdbc:postgresql://h/db", "POSTGRES", "h", 5432, "db"),
    ("jdbc:postgresql://h/", "POSTGRES", "h", 5432, None),
    ("jdbc:postgresql://h1:1,h2:2/db?targetServerType=primary", "POSTGRES", "h1", 1, "db"),
    ("jdbc:postgresql://[::1]:5433/db", "POSTGRES", "::1", 5433, "db"),
    ("jdbc:postgresql://h/d%C3%BCkkan", "POSTGRES", "h", 5432, "dükkan"),
    ("JDBC:PostgreSQL://h/db", "POSTGRES", "h", 5432, "db"),
    ("jdbc:mysql://h:3307/db?useSSL=false&serverTimezone=Europe/Istanbul", "MYSQL", "h", 3307, "db"),
    ("jdbc:mysql://u:p@h/db", "MYSQL", "h", 3306, "db"),
    ("jdbc:mariadb://h/db?sslMode=verify-full", "MYSQL", "h", 3306, "db"),
    ("jdbc:oracle:thin:@h:1521:ORCL", "ORACLE", "h", 1521, "ORCL"),
    ("jdbc:oracle:thin:@h:1521/svc.example", "ORACLE", "h", 1521, "svc.example"),
    ("jdbc:oracle:thin:@//h/svc", "ORACLE", "h", 1521, "svc"),
    ("jdbc:oracle:thin:@tcps://h:2484/svc?ssl_server_dn_match=on", "ORACLE", "h", 2484, "svc"),
    ("jdbc:oracle:thin:scott/tiger@h:1521:ORCL", "ORACLE", "h", 1521, "ORCL"),
    (
        "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h)(PORT=1522))(CONNECT_DATA=(SERVICE_NAME=s)))",
        "ORACLE", "h", 1522, "s",
    ),
    (
        "jdbc:oracle:thin:@(description= (load_balance=on) (address_list=(address=(protocol=tcp)(host=a)(port=1))"
        "(address=(protocol=tcp)(host=b)(port=2))) (connect_data=(sid=X)(server=dedicated)))",
        "ORACLE", "a", 1, "X",
    ),
    ("jdbc:sqlserver://h:1433;databaseName=db;encrypt=true;trustServerCertificate=false", "SQL_SERVER", "h", 1433, "db"),
    ("jdbc:sqlserver://h\\SQLEXPRESS;database=db;", "SQL_SERVER", "h", 1433, "db"),
    ("jdbc:sqlserver://h:1433;databaseName=db;password={a;b}}c}", "SQL_SERVER", "h", 1433, "db"),
    ("jdbc:sybase:Tds:h:5000/db", "SYBASE", "h", 5000, "db"),
    ("jdbc:sybase:Tds:h:5000/db?CHARSET=utf8", "SYBASE", "h", 5000, "db"),
    ("jdbc:jtds:sybase://h:5000/db;TDS=5.0", "SYBASE", "h", 5000, "db"),
    ("jdbc:db2://h:50000/db", "DB2", "h", 50000, "db"),
    ("jdbc:db2://h:50000/db:sslConnection=true;currentSchema=S;", "DB2", "h", 50000, "db"),
    ("jdbc:hive2://h1:10000,h2:10000/db;auth=noSasl;ssl=true", "APACHE_HIVE", "h1", 10000, "db"),
    ("jdbc:hive2://h/db;transportMode=http;httpPath=cliservice", "APACHE_HIVE", "h", 10000, "db"),
    ("jdbc:impala://h:21050/db;AuthMech=3;UID=u;PWD=p", "APACHE_IMPALA", "h", 21050, "db"),
    ("jdbc:trino://h:8443/catalog/schema?SSL=true", "TRINO", "h", 8443, "catalog/schema"),
    ("jdbc:presto://h:8080/catalog", "TRINO", "h", 8080, "catalog"),
    ("mongodb://h1:27017,h2:27018/db?replicaSet=rs0", "MONGODB", "h1", 27017, "db"),
    ("jdbc:mongodb://h:25080/db", "MONGODB", "h", 25080, "db"),
    ("mongodb+srv://u:p@cluster.example.com/db?authSource=admin&retryWrites=true&w=majority", "MONGODB",
     "cluster.example.com", 27017, "db"),
]  # fmt: skip

LIFTED = [
    ("jdbc:postgresql://h/db?user=u&password=s3cret", "jdbc:postgresql://h/db?user=u&password=__secret__"),
    ("jdbc:mysql://u:s3cret@h/db", "jdbc:mysql://u:__secret__@h/db"),
    ("jdbc:mysql://u:s3:cret@h/db?password=two", "jdbc:mysql://u:__secret__@h/db?password=__secret__"),
    ("jdbc:oracle:thin:scott/tiger@h:1521:ORCL", "jdbc:oracle:thin:scott/__secret__@h:1521:ORCL"),
    ('jdbc:oracle:thin:scott/"ti@ger"@//h/svc', "jdbc:oracle:thin:scott/__secret__@//h/svc"),
    (
        "jdbc:sqlserver://h;user=u;password=s3cret;encrypt=true",
        "jdbc:sqlserver://h;user=u;password=__secret__;encrypt=true",
    ),
    ("jdbc:sqlserver://h;password={s;3}}cret};encrypt=true", "jdbc:sqlserver://h;password=__secret__;encrypt=true"),
    ("jdbc:sybase:Tds:h:1/d?USER=u&PASSWORD=s3cret", "jdbc:sybase:Tds:h:1/d?USER=u&PASSWORD=__secret__"),
    ("jdbc:db2://h:1/d:user=u;password=s3cret;", "jdbc:db2://h:1/d:user=u;password=__secret__;"),
    ("jdbc:hive2://h:1/d;user=u;password=s3cret", "jdbc:hive2://h:1/d;user=u;password=__secret__"),
    ("jdbc:impala://h:1/d;UID=u;PWD=s3cret", "jdbc:impala://h:1/d;UID=u;PWD=__secret__"),
    ("jdbc:trino://h/c?accessToken=s3cret", "jdbc:trino://h/c?accessToken=__secret__"),
    ("mongodb://u:s3cret@h/db", "mongodb://u:__secret__@h/db"),
    ("jdbc:postgresql://h/db?password=${pw}", "jdbc:postgresql://h/db?password=__secret__"),
    # Not one that is allowed, and found all the same: the lists of another version do not lose a secret.
    ("jdbc:postgresql://h/db?sslpassword=s3cret", "jdbc:postgresql://h/db?sslpassword=__secret__"),
    # What cannot be read is withheld whole.
    ("jdbc:mysql://u:p@ss/word@h/db", "__secret__"),
    ("jdbc:mysql://u:p@ss@h/db", "__secret__"),
    ("jdbc:mysql://u:pa?ss@h/db", "__secret__"),
    ("jdbc:postgresql://h/db?a=b;password=s3cret", "__secret__"),
    ("jdbc:postgresql://h/db? password=s3cret", "__secret__"),
    ("jdbc:postgresql://h/db?${name}=s3cret", "__secret__"),
    ("jdbc:${kind}://u:s3cret@h/db", "__secret__"),
    ("nonsense s3cret", "__secret__"),
    # A variable is a reference, and no secret.
    ("${url}", "${url}"),
]


@pytest.mark.parametrize(("text", "dialect", "host", "port", "database"), ACCEPTED)
def test_documented_forms_are_read(text, dialect, host, port, database):
    """Every documented form of address is read into dialect, host, port and database."""
    url = parse(text)

    assert (url.dialect, url.host, url.port, url.database) == (dialect, host, port, database)
    assert dialect_of(text) == dialect


@pytest.mark.parametrize("text", [entry[0] for entry in ACCEPTED])
def test_rendered_address_reads_the_same(text):
    """An address made from the parts of another says the same."""
    assert parse(render(parse(text))) == parse(text)


def test_hostile_corpus_is_large():
    """The corpus of hostile addresses has at least 150 different ones."""
    assert len({text for texts in HOSTILE.values() for text in texts}) >= 150


@pytest.mark.parametrize("text", [text for texts in HOSTILE.values() for text in texts])
def test_hostile_address_is_refused(text):
    """A hostile address is refused, whether it is parsed or only checked."""
    with pytest.raises(UrlRefused):
        parse(text)
    if "${" not in text:
        assert problems_of_url(text)


@pytest.mark.parametrize("text", HOSTILE["parameters"])
def test_refused_parameter_is_named_without_its_value(text):
    """A refused parameter is named, and its value never is."""
    problems = problems_of_url(text)

    name = re.split(r"[?;&:/]", text.rpartition("=")[0])[-1]
    assert any(code in ("unsupported_parameter", "invalid_parameter") for code, _ in problems)
    assert any(name in reason for _, reason in problems)
    assert all("evil" not in reason for _, reason in problems)


def test_refused_parameter_points_at_our_field():
    """A parameter that names a certificate file points at the fields for stores."""
    [(code, reason)] = problems_of_url("jdbc:postgresql://h/db?sslrootcert=/etc/evil.pem")

    assert code == "unsupported_parameter"
    assert "sslrootcert" in reason
    assert "trustStoreName" in reason
    assert "evil" not in reason


def test_every_refused_parameter_is_reported():
    """All refused parameters are reported at once."""
    problems = problems_of_url("jdbc:mysql://h/db?autoDeserialize=true&queryInterceptors=x&useSSL=maybe")

    assert [reason.split()[2] for _, reason in problems] == ["autoDeserialize", "queryInterceptors", "useSSL"]


@pytest.mark.parametrize(("text", "public"), LIFTED)
def test_credentials_are_lifted_and_put_back(text, public):
    """Credentials of an address leave placeholders, and come back into them."""
    half, secrets = split(DatabaseConfig, {"jdbcUrl": text, "password": None})

    assert half["jdbcUrl"] == public
    whole, used = join(DatabaseConfig, half, secrets)
    assert whole["jdbcUrl"] == text
    assert used == set(secrets)


def test_repr_shows_neither_parameters_nor_login():
    """The parts of an address do not show a password by accident."""
    url = parse("jdbc:trino://h/c?user=u&password=s3cret&accessToken=t0ken")

    assert "s3cret" not in repr(url)
    assert "t0ken" not in repr(url)


@pytest.mark.parametrize(
    "text",
    [
        "jdbc:postgresql://${h}:${p}/${d}?sslmode=${m}",
        "${url}",
        "jdbc:${x}",
        "jdbc:oracle:thin:@${tns}",
        "jdbc:mysql://${h}/d?${more}",
    ],
)
def test_variables_stand_anywhere(text):
    """A variable reference satisfies every format until it is resolved."""
    assert problems_of_url(text) == ()
    with pytest.raises(UrlRefused):
        parse(text)


def test_variables_do_not_hide_a_parameter():
    """An address with a variable may not carry a parameter that is not allowed."""
    assert problems_of_url("jdbc:postgresql://${h}/db?socketFactory=evil")[0][0] == "unsupported_parameter"


# --- any address ---------------------------------------------------------------------------------------------

_hosts = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9.\-]{0,20}", fullmatch=True),
    st.sampled_from(["::1", "2001:db8::7", "127.0.0.1", "a_b"]),
)
_ports = st.one_of(st.none(), st.integers(1, 65535))
_words = st.from_regex(r"[A-Za-z0-9_.\-]{1,12}", fullmatch=True)
_free = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
_raw = st.text(st.sampled_from("abcXYZ019_-.:,!*~ğüş€%"), min_size=1, max_size=12)
_encoded = {"POSTGRES", "MYSQL", "MONGODB", "TRINO"}


@st.composite
def _urls(draw):
    dialect = draw(st.sampled_from(sorted(PARAMETERS)))
    encoded = dialect in _encoded
    single = dialect in ("SQL_SERVER", "SYBASE", "DB2", "APACHE_IMPALA", "TRINO")
    hosts = draw(st.lists(st.builds(Endpoint, _hosts, _ports), min_size=1, max_size=1 if single else 3))
    form = draw(
        st.sampled_from({"MYSQL": ["", "mariadb"], "SYBASE": ["", "jtds"], "ORACLE": ["", "sid"]}.get(dialect, [""]))
    )
    text = _free if encoded else _raw
    if dialect == "ORACLE":
        database = draw(_words)
    elif dialect == "TRINO":
        database = draw(st.one_of(st.none(), _words, st.builds(lambda a, b: f"{a}/{b}", _words, _words)))
    elif encoded:
        database = draw(st.one_of(st.none(), _free.filter(lambda word: "/" not in word)))
    else:
        database = draw(st.one_of(st.none(), _words))
    parameters = {}
    for name, kind in draw(st.lists(st.sampled_from(sorted(PARAMETERS[dialect].items(), key=str)), max_size=4)):
        if kind in (USER, PASSWORD) or name in ("databaseName", "database"):
            continue
        values = {FLAG: st.sampled_from(["true", "false"]), NUMBER: st.integers(0, 99999).map(str), TEXT: text}
        if name == "instanceName":
            values[TEXT] = st.from_regex(r"[A-Z]{1,8}", fullmatch=True)
        parameters[name] = draw(st.sampled_from(kind) if isinstance(kind, tuple) else values[kind])
    user = password = None
    if dialect == "ORACLE":
        if draw(st.booleans()):
            user, password = draw(_words), draw(_words)
    else:
        user, password = draw(st.one_of(st.none(), text)), draw(st.one_of(st.none(), text))
        if dialect == "MONGODB" and user is None:
            password = None
        if dialect == "SQL_SERVER" and password is not None:
            password += draw(st.sampled_from(["", ";", "}", "{", "};password={"]))
    return JdbcUrl(dialect, tuple(hosts), database, parameters, form, user, password)


@given(_urls())
def test_any_address_round_trips(url):
    """Whatever an address says, its text reads back as the same parts."""
    assert parse(render(url)) == url


@given(_urls())
def test_no_password_stays_in_the_public_half(url):
    """The public half of any address says what the address of the same parts with a placeholder says."""
    text = render(url)
    half, secrets = split(DatabaseConfig, {"jdbcUrl": text, "password": None})

    if url.password:
        assert parse(half["jdbcUrl"]).password == PLACEHOLDER
    assert join(DatabaseConfig, half, secrets)[0]["jdbcUrl"] == text


@given(st.text(max_size=60).map(lambda tail: "jdbc:mysql://u:p4ssw0rd" + tail))
def test_a_password_never_survives_in_an_address_that_is_cut(text):
    """However an address with a login goes on, its password is not in the public half."""
    half, secrets = split(DatabaseConfig, {"jdbcUrl": text, "password": None})

    if "${" not in text:
        assert "p4ssw0rd" not in half["jdbcUrl"]
    assert join(DatabaseConfig, half, secrets)[0]["jdbcUrl"] == text


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    """No text makes the parser do anything but read or refuse, and its spans are of the text."""
    for prefix in (
        "",
        "jdbc:postgresql://",
        "jdbc:oracle:thin:@",
        "jdbc:oracle:thin:@(DESCRIPTION=",
        "jdbc:sqlserver://h;",
    ):
        whole = prefix + text
        problems_of_url(whole)
        spans = credential_spans(whole)
        assert all(0 <= span.start <= span.end <= len(whole) for span in spans)
        try:
            parse(whole)
        except UrlRefused:
            continue
