"""Names in any script: they work in paths and bodies, and two are one exactly where the name key says so."""

import json
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mooring.domain.names import MAX_LENGTH, name_key, why_not_a_name
from tests.api.answers import done, one, problems, refusal
from tests.support.plane import CONNECTIONS, connection_path, email

NAMES = [
    "orders-db", "Orders DB", "a.b_c~d", "a+b&c=d", "it's (fine)!", "50€", "a:b@c", "a,b;c", "$money$", "*", "~", "-",
    "İstanbul", "ırmak", "Straße", "ﬁnance", "café", "cafe\u0301", "ＯＲＤＥＲＳ", "ΣΊΣΥΦΟΣ", "ǅ", "Ǆ", "\u212a", "\u212b",
    "طلبات", "סדר", "订单数据库", "注文データベース", "주문", "заказы", "ऑर्डर", "คำสั่ง", "🚀", "👩‍👩‍👧", "🇹🇷", "a\u00a0b",
    "\u1e9e", "ſ", "①", "½", "㎯", "…", "a\u200bb", "𝔘𝔫𝔦", "x" * MAX_LENGTH, "字" * MAX_LENGTH,
]  # fmt: skip

SAME = [
    ("orders", "ORDERS"), ("Straße", "STRASSE"), ("Straße", "straSSe"), ("\u1e9e", "ss"), ("ﬁnance", "FINANCE"),
    ("café", "cafe\u0301"), ("CAFÉ", "cafe\u0301"), ("\u212b", "\u00c5"), ("\u212b", "a\u030a"), ("\u212a", "k"), ("ＯＲＤＥＲＳ", "orders"),
    ("ſ", "S"), ("ǅ", "Ǆ"), ("ǆ", "DŽ"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("ς", "Σ"), ("①", "1"), ("㎯", "rad∕s2"), ("İ", "i\u0307"),
    ("𝔘𝔫𝔦", "uni"), ("a\u00a0b", "a b"), ("ﾃﾞｰﾀ", "データ"), ("Ω", "ω"), ("\u0345", "ι"), ("ΐ", "ϊ\u0301"),
]  # fmt: skip
DIFFERENT = [
    ("İ", "i"), ("İ", "I"), ("ı", "i"), ("ı", "I"), ("ß", "s"), ("e", "é"), ("а", "a"), ("a-b", "a_b"), ("a b", "ab"),
    ("a  b", "a b"), ("أ", "ا"), ("订单", "訂單"), ("は", "ば"), ("0", "O"), ("ø", "o"), ("ł", "l"), ("👩‍👧", "👩👧"),
]  # fmt: skip

REFUSED = [
    "a/b", "a\\b", "a?b", "a#b", "a%b", "%", " a", "a ", "\u00a0a", "a\u3000", "\ta", "a\nb", "a\x7fb", "a\x85b", "a\u2028b",
    "a\u2029b", "a\x00b", "a\ufffeb", "\U0010ffff", "x" * (MAX_LENGTH + 1), ".", "..",
]  # fmt: skip


# the key


@given(st.text(max_size=40))
@example("\u0345\u03b1")
@example("\u1f80")
@example("\u0130\u0131")
def test_key_of_a_key_is_itself(text):
    """Making a key twice is making it once, so that a key can be compared with a key."""
    assert name_key(name_key(text)) == name_key(text)


def test_key_is_settled_for_every_character():
    """That holds for every single character there is, and so does that case and composition do not matter."""
    wrong = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        character = chr(code)
        key = name_key(character)
        spellings = {unicodedata.normalize(form, character) for form in ("NFC", "NFD")} | {character.casefold()}
        if name_key(key) != key or any(name_key(spelling) != key for spelling in spellings):
            wrong.append(f"U+{code:04X}")
    assert wrong == []


@given(st.text(max_size=20))
def test_key_ignores_case_and_composition(text):
    """Another case, or another composition of the same characters, has the same key."""
    for other in (text.casefold(), unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
        assert name_key(other) == name_key(text)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_name_in_two_spellings(one, other):
    """These spellings are one name."""
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_names(one, other):
    """These are two names, however alike they look."""
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize("name", NAMES)
def test_name_is_taken(name):
    """These can name a connection."""
    assert why_not_a_name(name) is None


@pytest.mark.parametrize("name", ["", *REFUSED], ids=ascii)
def test_name_is_refused(name):
    """These cannot."""
    assert why_not_a_name(name)


# through the door


@pytest.mark.parametrize("name", NAMES)
async def test_life_of_a_name(http, name):
    """A connection of any name is created, read, listed, changed, renamed back and forth, and deleted."""
    path = connection_path(name)
    done(await http.post(path, json=email(name)))
    assert one(await http.get(path))["name"] == name
    assert [item["name"] for item in (await http.get(CONNECTIONS)).json()["resultList"]] == [name]
    done(await http.put(path, json=email(name, port=25)))
    done(await http.put(path, json=email("other")))
    done(await http.put(connection_path("other"), json=email(name)))
    assert one(await http.get(path))["port"] == 587
    assert one(
        await http.get(
            f"{path}deployments/{(await http.get(f'{path}deployments/')).json()['resultList'][0]['deploymentId']}/"
        )
    )
    done(await http.delete(path))

    assert refusal(await http.get(path)) == (404, "not_found", f"Connection (name: {name}) was not found!")


@pytest.mark.parametrize(("first", "second"), SAME)
async def test_spellings_collide(http, first, second):
    """Two spellings of one name: the second is taken, and each finds the connection."""
    done(await http.post(connection_path(first), json=email(first)))

    response = await http.post(connection_path(second), json=email(second))

    assert refusal(response) == (400, "bad_request", f"Connection (name: {second}) already exists!")
    assert one(await http.get(connection_path(second)))["name"] == first
    done(await http.delete(connection_path(second)))


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
async def test_alike_names_live_side_by_side(http, first, second):
    """Two names that only look alike are two connections."""
    done(await http.post(connection_path(first), json=email(first)))
    done(await http.post(connection_path(second), json=email(second)))

    assert one(await http.get(connection_path(first)))["name"] == first
    assert one(await http.get(connection_path(second)))["name"] == second


@pytest.mark.parametrize(("first", "second"), SAME)
async def test_path_and_body_in_two_spellings(http, first, second):
    """Path and body agree where their keys do; the body's spelling is kept."""
    done(await http.post(connection_path(first), json=email(second)))

    assert one(await http.get(connection_path(first)))["name"] == second


@pytest.mark.parametrize(("first", "second"), [("İ", "i"), ("ı", "I"), ("é", "e"), ("а", "a")])
async def test_path_and_body_differ(http, first, second):
    """Path and body that only look alike differ."""
    assert refusal(await http.post(connection_path(first), json=email(second)))[2] == (
        f"Connection name in path ({first}) does not match name in body ({second})!"
    )


async def test_escapes_in_either_case_and_of_anything(http):
    """A path may escape in lower case, and what needs no escape."""
    done(await http.post(f"{CONNECTIONS}%4frders%e2%82%ac/", json=email("Orders€")))

    assert one(await http.get(f"{CONNECTIONS}orders%E2%82%AC/"))["name"] == "Orders€"


async def test_plus_is_no_blank(http):
    """In a path, + is itself."""
    done(await http.post(f"{CONNECTIONS}a+b/", json=email("a+b")))

    assert refusal(await http.get(f"{CONNECTIONS}a%20b/"))[0] == 404


async def test_escaped_names_in_the_body(http):
    """JSON escapes in the body are the characters that they say, also beyond the basic plane."""
    response = await http.post(
        connection_path("🚀é"), content=json.dumps(email("🚀é")), headers={"Content-Type": "application/json"}
    )

    done(response)


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in (".", "..", "a\x00b")], ids=ascii)
async def test_name_that_cannot_be(http, name):
    """A name that cannot be is 400 in the path, in the documented shape, for whoever writes."""
    for method in ("POST", "PUT", "DELETE"):
        response = await http.request(
            method, f"{CONNECTIONS}{quote(name, safe='')}/", json=email(name) if method[0] == "P" else None
        )
        assert refusal(response)[:2] == (400, "bad_request")


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "a\x00b"], ids=ascii)
async def test_rename_to_a_name_that_cannot_be(http, name):
    """Renaming to such a name is 400 and names the field."""
    await http.post(connection_path("a"), json=email("a"))

    assert problems(await http.put(connection_path("a"), json=email(name))) == ["/name"]


@pytest.mark.parametrize("name", [7, True, ["a"], {"a": 1}])
async def test_name_that_is_no_text(http, name):
    """A name that is no text is 400 and names the field."""
    assert problems(await http.post(connection_path("a"), json=email("a") | {"name": name})) == ["/name"]


@pytest.mark.parametrize("name", [None, ""])
async def test_name_that_is_missing(http, name):
    """On POST the name in the body is required; on PUT, missing, it stays."""
    assert problems(await http.post(connection_path("a"), json=email("a") | {"name": name})) == ["/name"]
    done(await http.post(connection_path("a"), json=email("a")))

    done(await http.put(connection_path("a"), json=email("a") | {"name": name}))

    assert one(await http.get(connection_path("a")))["name"] == "a"


async def test_projects_in_any_script(http):
    """Projects have such names too; their spelling is exact."""
    for name in ("Über uns", "项目", "Straße"):
        done(await http.post(f"/apiops/projects/{quote(name)}/", json={}))
        done(await http.post(connection_path("a", name), json=email("a")))

        assert one(await http.get(connection_path("a", name)))["projectName"] == name
    assert refusal(await http.get(connection_path("a", "STRASSE")))[0] == 404


def test_names_through_a_real_server(dev):
    """A real server takes the same names, and its worker finds the connection by each of them."""
    chosen = ["api İstanbul", "api Straße", "api 订单", "api 🚀 x", "api ﬁ", "api e\u0301"]
    for name in chosen:
        body = {"type": "webhook", "name": name, "fullUrl": "http://127.0.0.1:9/", "httpMethod": "POST"}
        assert done(dev.api.post(connection_path(name), json=body))["deploymentResult"]["state"] == "SUCCEEDED"
    try:
        for name, spelling in zip(
            chosen, ["api İSTANBUL", "API STRASSE", "api 订单", "API 🚀 X", "api FI", "api É"], strict=True
        ):
            assert one(dev.api.get(connection_path(spelling)))["name"] == name
            assert dev.use("MyProject", spelling, "send", {}).json()["error"] != "connection_unknown"
    finally:
        for name in chosen:
            done(dev.api.delete(connection_path(name)))
