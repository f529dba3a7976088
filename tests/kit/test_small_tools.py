"""Ids, tokens, encryption, scrubbing, time, files, waiting: the small tools."""

from __future__ import annotations

import os
import random
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.kit import ids
from mooring.kit.aead import (
    NotAuthentic,
    decrypt,
    derive,
    encrypt,
    new_key,
    new_receiver_key,
    public_key_of,
    unwrap,
    wrap,
)
from mooring.kit.backoff import full_jitter
from mooring.kit.clock import iso, now_ms
from mooring.kit.files import write_private
from mooring.kit.ids import new_id
from mooring.kit.log import Log
from mooring.kit.redact import scrub
from mooring.kit.tokens import is_well_formed, make_token, parse_token

KEY = bytes(range(32))
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=4, max_size=30)


# ids


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ids of different milliseconds sort in the order they were made, whatever chance adds."""
    clock = iter(range(1_700_000_000_000, 1_700_000_000_500))
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(clock) * 1_000_000)

    made = [new_id("con") for _ in range(500)]

    assert made == sorted(made)


def test_ids_differ_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty bits of chance tell them apart."""
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_700_000_000_000_000_000)

    assert len({new_id("con") for _ in range(10_000)}) == 10_000


def test_an_id_says_what_it_names() -> None:
    """A prefix, then 26 letters and digits without look-alikes."""
    prefix, _, rest = new_id("con").partition("_")

    assert prefix == "con" and len(rest) == 26 and not set(rest) & set("ILOU")


# tokens


@pytest.mark.parametrize("kind", ["pat", "wrk", "enr"])
def test_a_new_token_is_well_formed(kind: str) -> None:
    """Its text gives back its kind, its id and the hash of its secret."""
    made = make_token(kind)

    assert parse_token(made.text) == (kind, made.id, made.secret_hash)
    assert is_well_formed(made.text)


def test_the_stored_hash_does_not_hold_the_secret() -> None:
    """What is stored beside the id cannot be turned back into a token."""
    made = make_token("pat")
    secret = made.text.split("_")[3]

    assert secret.encode() not in made.secret_hash and len(made.secret_hash) == 32


def test_tokens_differ() -> None:
    """In id and in secret."""
    made = [make_token("pat") for _ in range(1000)]

    assert len({token.id for token in made}) == len({token.secret_hash for token in made}) == 1000


@given(st.data())
def test_a_changed_letter_is_no_well_formed_token(data: st.DataObject) -> None:
    """The checksum catches a typing error."""
    text = make_token("pat").text
    at = data.draw(st.integers(8, len(text) - 1))
    other = data.draw(st.sampled_from("0aZ_-"))

    assert text[at] == other or not is_well_formed(text[:at] + other + text[at + 1 :])


@given(st.text())
def test_other_texts_are_no_tokens(text: str) -> None:
    """Whatever they are made of."""
    assert parse_token(text) is None and not is_well_formed(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1],
        lambda t: t + "x",
        lambda t: t + "\n",
        lambda t: " " + t,
        str.upper,
        lambda t: t.replace("mrg_pat", "mrg_adm"),
    ],
)
def test_a_token_is_taken_whole(change: object) -> None:
    """A cut, lengthened or respelled one is not."""
    assert parse_token(change(make_token("pat").text)) is None  # type: ignore[operator]


def test_digits_of_other_scripts_are_no_token() -> None:
    """Only ASCII."""
    text = make_token("pat").text

    assert parse_token(text[:-1] + "٣") is None


# encryption


@given(st.binary(), st.binary())
def test_encrypted_bytes_open_again(plaintext: bytes, context: bytes) -> None:
    """With the same key and context."""
    assert decrypt(KEY, encrypt(KEY, plaintext, context), context) == plaintext


@given(st.binary(), st.binary(), st.binary())
def test_another_context_does_not_open(plaintext: bytes, context: bytes, other: bytes) -> None:
    """What was meant for one place opens in no other."""
    sealed = encrypt(KEY, plaintext, context)

    if context != other:
        with pytest.raises(NotAuthentic):
            decrypt(KEY, sealed, other)


@given(st.binary(max_size=80))
def test_bytes_that_nobody_encrypted_do_not_open(junk: bytes) -> None:
    """Short ones either."""
    with pytest.raises(NotAuthentic):
        decrypt(KEY, junk, b"")


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(32)])
def test_another_key_does_not_open(key: bytes) -> None:
    """One of a wrong length either."""
    with pytest.raises(NotAuthentic):
        decrypt(key, encrypt(KEY, b"value", b""), b"")


def test_no_nonce_is_used_twice() -> None:
    """Over several stocks of them."""
    assert len({encrypt(KEY, b"", b"")[:12] for _ in range(5000)}) == 5000


def test_a_forked_process_draws_other_nonces() -> None:
    """Parent and child never share a stock."""
    encrypt(KEY, b"", b"")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(encrypt(KEY, b"", b"")[:12] for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 1200)
    os.close(reading)
    os.close(writing)

    ours = {encrypt(KEY, b"", b"")[:12] for _ in range(100)}

    assert len(theirs) == 1200
    assert not ours & {theirs[at : at + 12] for at in range(0, 1200, 12)}


@given(st.binary(min_size=32, max_size=32), st.binary())
def test_a_wrapped_key_opens_for_its_receiver(key: bytes, context: bytes) -> None:
    """With the private half alone."""
    private, public = new_receiver_key()

    assert unwrap(private, wrap(public, key, context), context) == key
    assert public_key_of(private) == public


def test_a_wrapped_key_opens_for_nobody_else() -> None:
    """Not for another receiver, nor in another context, nor when changed."""
    private, public = new_receiver_key()
    wrapped = wrap(public, KEY, b"context")
    attempts = [
        (new_receiver_key()[0], wrapped, b"context"),
        (private, wrapped, b"other"),
        *(
            (private, wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :], b"context")
            for at in range(len(wrapped))
        ),
    ]

    for receiver, blob, context in attempts:
        # The topmost bit of a point is not part of it, so a flip there may be one that is not looked at.
        with pytest.raises(NotAuthentic):
            unwrap(receiver, blob, context)


@given(st.binary(max_size=100))
def test_junk_does_not_unwrap(junk: bytes) -> None:
    """Nor points that give no key."""
    private, _ = new_receiver_key()

    for blob in (junk, bytes(32) + junk):
        with pytest.raises(NotAuthentic):
            unwrap(private, blob, b"")


def test_purposes_have_keys_of_their_own() -> None:
    """Derived from one key, and each unlike it and the others."""
    made = {derive(KEY, purpose) for purpose in ("a", "b", "ab", "")}

    assert len(made | {KEY}) == 5 and derive(KEY, "a") == derive(KEY, "a")


def test_new_keys_differ() -> None:
    """32 bytes each."""
    assert len({new_key() for _ in range(100)}) == 100 and len(new_key()) == 32


# scrubbing


@given(st.lists(PRINTABLE, min_size=1, max_size=5), PRINTABLE)
def test_no_secret_is_left(secrets: list[str], around: str) -> None:
    """Wherever they stand in a text, and whatever they share."""
    text = around.join(["", *secrets, *reversed(secrets), ""])

    left = scrub(text, secrets)

    assert not any(secret in left for secret in secrets if "*" not in secret)


def test_a_secret_within_another_leaves_no_rest() -> None:
    """The longest is taken first, in whatever order they come."""
    for secrets in (["pass", "pass-word-1"], ["pass-word-1", "pass"]):
        assert scrub("refused: pass-word-1", secrets) == "refused: ***"


@pytest.mark.parametrize(
    "text",
    [
        "https://ada:p%40ss%2Fw%22rd@host",
        "https://ada:p%40ss/w%22rd@host",
        '{"password": "p@ss/w\\"rd"}',
        "'p@ss/w\"rd'",
    ],
)
def test_other_spellings_are_taken_out(text: str) -> None:
    """As a URL, JSON or Python writes the secret."""
    assert "ss" not in scrub(text, ['p@ss/w"rd']).replace("password", "")


def test_letters_beyond_ascii_are_taken_out_of_urls_and_json() -> None:
    """Encoded one way or the other."""
    assert scrub("x?k=s%C3%BC%C3%9Fes and s\\u00fc\\u00dfes and süßes", ["süßes"]) == "x?k=*** and *** and ***"


def test_a_short_secret_goes_only_as_a_whole_message() -> None:
    """It would blot out ordinary words."""
    assert scrub("abc is not abcd", ["abc"]) == "abc is not abcd"
    assert scrub("abc", ["abc"]) == "***"


def test_without_secrets_a_text_stays() -> None:
    """Empty ones are none."""
    assert scrub("text", []) == scrub("text", [""]) == "text"


# time


def test_an_instant_is_written_in_utc() -> None:
    """With milliseconds, before 1970 too; none is none."""
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert iso(-1) == "1969-12-31T23:59:59.999Z"
    assert iso(None) is None


def test_now_is_in_milliseconds() -> None:
    """Of the system's clock."""
    before, now, after = time.time_ns() // 10**6, now_ms(), time.time_ns() // 10**6

    assert before <= now <= after


@given(st.integers(0, 4_102_444_800_000), st.integers(0, 4_102_444_800_000))
def test_written_instants_sort_like_instants(a: int, b: int) -> None:
    """As texts."""
    assert (iso(a) < iso(b)) == (a < b)  # type: ignore[operator]


# waiting


@given(st.integers(0, 10_000))
def test_waits_grow_to_a_cap(attempt: int) -> None:
    """Below base * 2^attempt, and never beyond the cap, however often."""
    assert 0 <= full_jitter(attempt) <= min(60.0, 2.0 ** min(attempt, 16))


def test_waits_are_spread() -> None:
    """Those that fail together come back apart."""
    random.seed(1)

    assert len({full_jitter(10) for _ in range(100)}) == 100


# files


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    """With mode 0600, and nothing left beside it."""
    path = tmp_path / "folder" / "secret"

    for text in ("first, longer", "second"):
        write_private(path, text)

    assert path.read_text() == "second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """What somebody laid where the text is written first is removed, not written through."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "secret.new").symlink_to(victim)

    write_private(tmp_path / "secret", "text")

    assert victim.read_text() == "mine" and (tmp_path / "secret").read_text() == "text"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the new one is durable the old one is not touched."""
    path = tmp_path / "secret"
    write_private(path, "old")

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "new")

    assert path.read_text() == "old"


# logs


def test_an_event_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its fields hold."""
    Log().info("thing_happened", name="two\nlines\u2028", path=Path("/x"))

    assert capsys.readouterr().err.count("\n") == 1


def test_events_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Those at it are."""
    quiet = Log("warning")
    quiet.info("no")
    quiet.warning("yes")

    assert '"event": "yes"' in capsys.readouterr().err
