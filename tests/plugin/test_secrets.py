"""Secrets are taken out of a config and put back, wherever they stand in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.plugin.secrets import (
    PLACEHOLDER,
    NamedEntries,
    SecretSite,
    TextParts,
    WholeField,
    is_credential_header,
    is_credential_parameter,
    plain_name,
    url_spans,
)

CANARY = "s3cr3t"
URL = TextParts("url", url_spans)
HEADERS = NamedEntries("headers", is_credential_header)


def lifted(site: SecretSite, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    secrets: dict[str, str] = {}
    site.lift(config, secrets)
    return config, secrets


def filled(site: SecretSite, config: dict[str, Any], secrets: dict[str, str]) -> tuple[dict[str, Any], set[str]]:
    used: set[str] = set()
    site.fill(config, secrets, used)
    return config, used


def shown(url: str) -> str:
    """*url* as it reads without its secrets; checks on the way that they go back in."""
    config, secrets = lifted(URL, {"url": url})
    public = str(config["url"])
    assert filled(URL, {"url": public}, secrets) == ({"url": url}, set(secrets))
    return public


# Names


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "pass-word",
        "api_key",
        "apiKey",
        "access.token",
        "client_secret",
        "sig",
        "X-Amz-Signature",
        "my_token",
        "db-password",
        "code",
    ],
)
def test_credential_parameters(name):
    """Names of the published list are credentials in any case and with any separator, and so are their endings."""
    assert is_credential_parameter(name)


@pytest.mark.parametrize("name", ["user", "host", "tokens", "keyword", "page", "passenger", "monkey", "", "sslmode"])
def test_ordinary_parameters(name):
    """A name that only resembles a credential is none."""
    assert not is_credential_parameter(name)


@pytest.mark.parametrize(
    "name",
    ["Authorization", "authorization", "Proxy-Authorization", "X-Authorization", "X-API-Key", "Api-Key", "Cookie",
     "PRIVATE-TOKEN", "X-Hub-Signature", "Ocp-Apim-Subscription-Key", "X_Auth_Token"],
)  # fmt: skip
def test_credential_headers(name):
    """Headers that carry credentials are known in any case."""
    assert is_credential_header(name)


@pytest.mark.parametrize(
    "name", ["Content-Type", "Accept", "X-Source", "User-Agent", "X-Keyboard", "Authorization-Hint"]
)
def test_ordinary_headers(name):
    """Other headers are not."""
    assert not is_credential_header(name)


def test_plain_names():
    """Names are compared without case and separators."""
    assert plain_name("Api_Key") == plain_name("api-key") == plain_name("API.KEY") == "apikey"


# URLs


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://h.example", "https://h.example"),
        ("https://ada@h.example/", "https://ada@h.example/"),
        ("https://ada:@h.example/", "https://ada:@h.example/"),
        ("https://ada:S@h.example/", "https://ada:__secret__@h.example/"),
        ("https://:S@h.example/", "https://:__secret__@h.example/"),
        ("https://ada:S@h.example", "https://ada:__secret__@h.example"),
        ("https://ada:S@h.example:8443/a", "https://ada:__secret__@h.example:8443/a"),
        ("https://ada:S@[2001:db8::1]:8443/a", "https://ada:__secret__@[2001:db8::1]:8443/a"),
        ("https://[2001:db8::1]:8443/a@b", "https://[2001:db8::1]:8443/a@b"),
        ("https://[::1]/a@b", "https://[::1]/a@b"),
        ("https://h.example:8443/a@b:c", "https://h.example:8443/a@b:c"),
        ("https://h.example/a:b@c", "https://h.example/a:b@c"),
        ("https://ada:S:T@h.example/", "https://ada:__secret__@h.example/"),
        ("https://ada:S@T@h.example/", "https://ada:__secret__@h.example/"),
        ("https://ada:S%2FT%40@h.example/", "https://ada:__secret__@h.example/"),
        ("https://ada:S/T@h.example/", "https://ada:__secret__@h.example/"),
        ("https://ada:S?T#U@h.example/?a=b", "https://ada:__secret__@h.example/?a=b"),
        ("https://ada:S?token=T@h.example/", "https://ada:__secret__@h.example/"),
        ("https://ada:${password}@h.example/", "https://ada:__secret__@h.example/"),
        ("https://h.example:${port}/a@b", "https://h.example:${port}/a@b"),
        ("ada:S@h.example", "ada:S@h.example"),
        ("${url}", "${url}"),
        ("", ""),
    ],
)
def test_userinfo(url, public):
    """The password before the host is lifted, however it is written; user, host, port and path stay."""
    assert shown(url) == public


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://h/?token=S", "https://h/?token=__secret__"),
        ("https://h/?a=1&token=S&b=2", "https://h/?a=1&token=__secret__&b=2"),
        ("https://h/?token=S&token=T", "https://h/?token=__secret__&token=__secret__"),
        ("https://h/?to-ken=S&TOKEN=T&api_key=U", "https://h/?to-ken=__secret__&TOKEN=__secret__&api_key=__secret__"),
        ("https://h/?token=&token=T", "https://h/?token=&token=__secret__"),
        ("https://h/?token", "https://h/?token"),
        ("https://h/?token=S==", "https://h/?token=__secret__"),
        ("https://h/?token=S;T&a=b", "https://h/?token=__secret__&a=b"),
        ("https://h/?token=S?T/U@V", "https://h/?token=__secret__"),
        ("https://h/?a=1;token=S;b=2", "https://h/?a=1;token=__secret__;b=2"),
        ("https://h/?to%6Ben=S", "https://h/?to%6Ben=__secret__"),
        ("https://h/?api%5Fkey=S", "https://h/?api%5Fkey=__secret__"),
        ("https://h/?login[password]=S", "https://h/?login[password]=__secret__"),
        ("https://h/?token=S#top", "https://h/?token=__secret__#top"),
        ("https://h/#access_token=S&a=b", "https://h/#access_token=__secret__&a=b"),
        ("https://h/?a=b#/route?token=S", "https://h/?a=b#/route?token=__secret__"),
        ("https://h/?&&=&token=S&", "https://h/?&&=&token=__secret__&"),
        ("https://h/?next=https://x/?token=S", "https://h/?next=https://x/?token=S"),
        ("https://u:S@h/?password=T", "https://u:__secret__@h/?password=__secret__"),
        ("https://h/token=S", "https://h/token=S"),
    ],
)
def test_parameters(url, public):
    """Credential-named parameters are lifted, and every other letter of the address stays."""
    assert shown(url) == public


def test_repeated_parameters_have_keys_of_their_own():
    """The second parameter of a name is kept apart from the first."""
    _, secrets = lifted(URL, {"url": "https://h/?token=one&a=b&token=two"})

    assert secrets == {"url/token": "one", "url/token~2": "two"}


def test_a_placeholder_in_a_put_keeps_the_secret():
    """A text that was read can be put back, with the rest of it changed."""
    changed = {"url": "https://new.example/path?a=2&token=__secret__"}

    config, used = filled(URL, changed, {"url/token": "S", "url/userinfo": "T"})

    assert config == {"url": "https://new.example/path?a=2&token=S"}
    assert used == {"url/token"}


def test_a_new_secret_in_a_put_replaces_the_old_one():
    """A text with a secret of its own takes none from the store."""
    config, used = filled(URL, {"url": "https://h/?token=new"}, {"url/token": "old"})

    assert (config, used) == ({"url": "https://h/?token=new"}, set())


def test_a_placeholder_without_a_secret_is_named():
    """A placeholder for which nothing is stored is told by its key."""
    assert list(URL.unfilled({"url": "https://u:__secret__@h/?token=__secret__&sig=x"})) == [
        "url/userinfo",
        "url/token",
    ]


@pytest.mark.parametrize("value", [None, 5, ["a"], {"a": "b"}, True])
def test_what_is_no_text_is_left_alone(value):
    """Bodies are walked before they are validated, so anything may stand there."""
    config, secrets = lifted(URL, {"url": value})

    assert filled(URL, config, {"url/token": "S"}) == ({"url": value}, set())
    assert secrets == {}


def test_an_absent_text_stays_absent():
    """No key appears that was not sent."""
    assert lifted(URL, {}) == ({}, {})
    assert filled(URL, {}, {"url/token": "S"}) == ({}, set())


# Any URL

_WORD = st.text("abcxyzABC019-._~%", min_size=1, max_size=8)
_SECRET = st.text("abc019-._~%!$'()*,:@/?; ıŞ", max_size=12).map(lambda tail: CANARY + tail)
_PORT = st.one_of(st.just(""), st.integers(0, 99999).map(lambda port: f":{port}"), st.just(":${port}"))
_HOST = st.one_of(_WORD, st.sampled_from(["[::1]", "[2001:db8::1]", "127.0.0.1", "örnek.example", "${host}"]))
_CREDENTIAL_NAMES = st.sampled_from(
    ["token", "api_key", "Api-Key", "password", "sig", "client%5Fsecret", "a[token]", "X-Auth-Token", "code"]
)
_PLAIN_NAMES = st.sampled_from(["a", "page", "user", "", "format", "x;y", "token1"])
_PARAMETER = st.one_of(
    st.tuples(_CREDENTIAL_NAMES, _SECRET).map("=".join),
    st.tuples(_PLAIN_NAMES, st.text("abc=/?:@ ", max_size=5)).map("=".join),
    st.sampled_from(["", "flag", "="]),
)
_PARAMETERS = st.lists(_PARAMETER, max_size=5).map("&".join)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """URLs whose secrets all begin with the canary, and none of which stands where only a guess could find it."""
    user = draw(st.one_of(st.just(""), _WORD))
    password = draw(st.one_of(st.none(), _SECRET))
    userinfo = "" if password is None else f"{user}:{password}@"
    path = draw(st.lists(_WORD, max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts)))
    query = draw(st.one_of(st.just(""), _PARAMETERS.map("?{}".format)))
    fragment = draw(st.one_of(st.just(""), _WORD.map("#{}".format), _PARAMETERS.map("#{}".format)))
    return f"{draw(st.sampled_from(['http', 'https']))}://{userinfo}{draw(_HOST)}{draw(_PORT)}{path}{query}{fragment}"


@given(urls())
def test_no_secret_remains_and_all_come_back(url):
    """For any address: without its secrets nothing secret is left, and with them it is the same again."""
    public = shown(url)

    password = url.partition("//")[2].partition(":")[2].rpartition("@")[0]
    if "@" in password and any(mark in password for mark in "/?#"):
        return  # such a password reads as a host of its own; nobody can tell
    assert CANARY not in public


@given(st.text("ab:/?#@&=;[]%+$_ {}token", max_size=40), st.sampled_from(["", "https://", "//"]))
def test_any_text_comes_back(text, beginning):
    """Whatever the text is: what was taken out of it goes back to where it was."""
    shown(beginning + text)


@given(st.text("ab:/?#@&=;[]%token", max_size=40))
def test_keys_do_not_depend_on_the_secrets(text):
    """The text with placeholders has the same secrets, by name, as the text it was made of."""
    config, secrets = lifted(URL, {"url": f"https://{text}"})

    assert set(lifted(URL, config)[1]) == set(secrets)


def test_long_texts_are_quick():
    """A text without end and sense takes no noticeable time."""
    shown("https://h/?" + "a" * 100_000 + ";" * 100_000)


# Headers


def test_credential_headers_are_lifted_by_name():
    """Only credentials are lifted; the list keeps its order and its other values."""
    config, secrets = lifted(
        HEADERS,
        {
            "headers": [
                {"name": "Accept", "value": "a"},
                {"name": "Authorization", "value": "S"},
                {"name": "X-Api-Key", "value": "T"},
            ]
        },
    )

    assert [entry["value"] for entry in config["headers"]] == ["a", None, None]
    assert secrets == {"headers/authorization": "S", "headers/x-api-key": "T"}


def test_headers_are_filled_by_name_and_not_by_position():
    """A PUT may reorder, respell and drop entries; each keeps its own secret."""
    sent = {"headers": [{"name": "X-API-KEY", "value": None}, {"name": "authorization", "value": PLACEHOLDER}]}

    config, used = filled(
        HEADERS, sent, {"headers/authorization": "S", "headers/x-api-key": "T", "headers/cookie": "U"}
    )

    assert [entry["value"] for entry in config["headers"]] == ["T", "S"]
    assert used == {"headers/authorization", "headers/x-api-key"}


def test_two_headers_of_one_name():
    """The second entry of a name has a key of its own."""
    whole = {"headers": [{"name": "Cookie", "value": "one"}, {"name": "cookie", "value": "two"}]}

    config, secrets = lifted(HEADERS, {"headers": [dict(entry) for entry in whole["headers"]]})

    assert secrets == {"headers/cookie": "one", "headers/cookie~2": "two"}
    assert filled(HEADERS, config, secrets)[0] == whole


def test_a_header_without_a_value_takes_the_stored_one():
    """Absent means keep."""
    assert filled(HEADERS, {"headers": [{"name": "Cookie"}]}, {"headers/cookie": "S"})[0] == {
        "headers": [{"name": "Cookie", "value": "S"}]
    }


def test_an_empty_header_value_clears():
    """An empty text is a value, and is not filled."""
    assert filled(HEADERS, {"headers": [{"name": "Cookie", "value": ""}]}, {"headers/cookie": "S"})[1] == set()


def test_odd_characters_in_names_cannot_collide():
    """A name with the marks of keys in it is not mistaken for another one."""
    site = NamedEntries("headers", lambda name: True)
    entries = [
        {"name": "a", "value": "1"},
        {"name": "a", "value": "2"},
        {"name": "a~2", "value": "3"},
        {"name": "a/b", "value": "4"},
    ]

    _, secrets = lifted(site, {"headers": entries})

    assert len(secrets) == 4


@pytest.mark.parametrize(
    "value", [None, 5, "text", {"name": "Cookie"}, [None, 5, "x", [], {"name": 5}, {"value": "v"}, {}]]
)
def test_what_is_no_list_of_headers_is_left_alone(value):
    """Bodies are walked before they are validated, so anything may stand there."""
    assert lifted(HEADERS, {"headers": value}) == ({"headers": value}, {})
    assert list(HEADERS.unfilled({"headers": value})) == []


def test_an_unfilled_header_is_named():
    """A placeholder for which nothing is stored is told by its key."""
    assert list(HEADERS.unfilled({"headers": [{"name": "Cookie", "value": PLACEHOLDER}]})) == ["headers/cookie"]


_NAMES = st.sampled_from(["Authorization", "authorization", "X-Api-Key", "Accept", "X~2", "a/b-token", "Cookie"])


@given(st.lists(st.fixed_dictionaries({"name": _NAMES, "value": st.text(min_size=1, max_size=5)}), max_size=6))
def test_any_headers_come_back(entries):
    """Whatever the list is: no credential is left in it, and all go back to where they were."""
    config, secrets = lifted(HEADERS, {"headers": [dict(entry) for entry in entries]})

    assert all(entry["value"] is None for entry in config["headers"] if is_credential_header(entry["name"]))
    assert filled(HEADERS, config, secrets) == ({"headers": entries}, set(secrets))


# Whole fields


@pytest.mark.parametrize("kept", [{}, {"password": None}, {"password": PLACEHOLDER}])
def test_a_whole_secret_is_kept(kept):
    """Absent, null and the placeholder keep the stored secret."""
    assert filled(WholeField("password"), kept, {"password": "S"}) == ({"password": "S"}, {"password"})


@pytest.mark.parametrize("sent", ["", "new"])
def test_a_whole_secret_is_replaced_or_cleared(sent):
    """A text replaces the stored secret, and an empty one clears it."""
    assert filled(WholeField("password"), {"password": sent}, {"password": "S"}) == ({"password": sent}, set())


@pytest.mark.parametrize(("value", "secrets"), [("S", {"password": "S"}), ("", {}), (None, {})])
def test_a_whole_secret_leaves_null(value, secrets):
    """A lifted secret reads as null; an empty one is none."""
    assert lifted(WholeField("password"), {"password": value}) == ({"password": None}, secrets)


def test_an_unfilled_whole_secret_is_named():
    """A placeholder for which nothing is stored is told by its key."""
    assert list(WholeField("password").unfilled({"password": PLACEHOLDER})) == ["password"]
