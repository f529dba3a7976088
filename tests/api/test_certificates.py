"""Certificates by the API: as a form and as JSON, in the documented shapes and words."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mooring.control.tokens import system_actor
from tests.api.answers import done, listed, one, problems, refusal
from tests.support.keystores import authority, certificates_path, issued
from tests.support.plane import Opened, connection_path

ROOT = authority("Root")
OTHER = authority("Other root")
PATH = certificates_path()


def form(name: str = "Ca", **more: Any) -> dict[str, Any]:
    return {
        "certificateName": name, "alias": name, "certificateDescription": "ours", "environmentList": "development", **more,
    }  # fmt: skip


async def made(
    http: httpx2.AsyncClient, name: str = "Ca", pem: str = ROOT.certificate_pem, **more: Any
) -> httpx2.Response:
    return await http.post(PATH, data=form(name, **more), files={"pemEncodedFile": ("ca.pem", pem.encode())})


def entry(found: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = found["certificateEnvironmentList"][0]
    return shown


async def test_a_form_makes_a_certificate(http: httpx2.AsyncClient) -> None:
    """And the answer has the documented shape."""
    result = done(await made(http))["deploymentResult"]

    assert (result["success"], result["message"]) == (True, "Deployment completed successfully")
    assert [each["environmentName"] for each in result["environmentResults"]] == ["development"]


async def test_get_shows_the_documented_keys(http: httpx2.AsyncClient) -> None:
    """Dates in ISO 8601 with milliseconds and Z; the content in base64."""
    await made(http)

    found = one(await http.get(certificates_path("ca")))

    shown = entry(found)
    assert (found["name"], found["description"]) == ("Ca", "ours")
    assert (shown["environmentName"], shown["alias"], shown["subjectDn"]) == ("development", "Ca", "CN=Root")
    assert shown["startDate"] == f"{ROOT.certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%S}.000Z"
    assert shown["endDate"] == f"{ROOT.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%S}.000Z"
    assert len(shown["sha1Thumbprint"]) == 40
    assert base64.b64decode(shown["base64EncodedContent"]) == ROOT.certificate.public_bytes(Encoding.DER)


async def test_lists_leave_the_content_out(http: httpx2.AsyncClient) -> None:
    """The key is there, its value is null."""
    await made(http)

    (found,) = listed(await http.get(PATH))

    assert entry(found)["base64EncodedContent"] is None and entry(found)["subjectDn"] == "CN=Root"


async def test_json_makes_a_certificate_too(http: httpx2.AsyncClient) -> None:
    """The same fields; environments as a list or with commas."""
    for name, environments in (("a", ["development"]), ("b", "development")):
        body = {**form(name), "environmentList": environments, "pemEncodedFile": ROOT.certificate_pem}
        done(await http.post(PATH, json=body))

    assert [each["name"] for each in listed(await http.get(PATH))] == ["a", "b"]


async def test_every_field_that_is_missing_is_named(http: httpx2.AsyncClient) -> None:
    """In the documented words, all at once."""
    response = await http.post(PATH, files={"alias": (None, " ")})

    assert problems(response) == ["/certificateName", "/alias", "/pemEncodedFile", "/environmentList"]
    assert response.json()["errors"][0]["message"] == "certificateName value can not be empty!"


async def test_a_taken_name_and_a_taken_alias_have_their_words(http: httpx2.AsyncClient) -> None:
    """Both ignoring case."""
    await made(http)

    assert refusal(await made(http, "CA"))[2] == "Certificate (name: CA) is already exist!"
    assert refusal(await made(http, "x", alias="cA"))[2] == (
        "Alias (cA) is already used for another certificate, try changing this value!"
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_missing_certificate_is_400(http: httpx2.AsyncClient, method: str) -> None:
    """As documented."""
    response = await http.request(method, certificates_path("nobody"), json={} if method == "PUT" else None)

    assert refusal(response) == (400, "bad_request", "Certificate (name: nobody) is not found!")


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        ("hello", "there is no PEM block in it"),
        (ROOT.pem().decode(), "it holds a private key, and certificates are public; make a keystore of it"),
        (issued(ROOT).chain_pem, "it must hold one certificate; several make a keystore of type PEM"),
    ],
)
async def test_what_is_no_certificate_is_refused(http: httpx2.AsyncClient, pem: str, why: str) -> None:
    """With the reason."""
    assert refusal(await made(http, pem=pem))[2] == f"pemEncodedFile is not valid: {why}"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", b"x", "Content-Type must be application/json or multipart/form-data"),
        ("multipart/form-data", b"x", "Request body is not a valid form: Content-Type names no boundary"),
        ("multipart/form-data; boundary=a", b"--a", "Request body is not a valid form: its end is missing"),
        ("application/json", b"{", "Request body is not valid JSON: "),
    ],
)
async def test_a_broken_body_is_refused(http: httpx2.AsyncClient, content_type: str, body: bytes, text: str) -> None:
    """Whichever way it was meant."""
    response = await http.post(PATH, content=body, headers={"Content-Type": content_type})

    assert refusal(response)[2].startswith(text)


async def test_a_put_replaces_what_it_names(http: httpx2.AsyncClient) -> None:
    """The name comes from the path; what is left out stays."""
    await made(http)

    done(await http.put(certificates_path("ca"), files={"pemEncodedFile": ("new.pem", OTHER.certificate_pem.encode())}))
    done(await http.put(certificates_path("ca"), json={"alias": "newer"}))

    found = one(await http.get(certificates_path("ca")))
    assert (found["name"], found["description"], found["generation"]) == ("Ca", "ours", 3)
    assert (entry(found)["alias"], entry(found)["subjectDn"]) == ("newer", "CN=Other root")


async def test_the_environments_of_a_put_are_all_there_are(opened: Opened, http: httpx2.AsyncClient) -> None:
    """A new one gets the certificate, one that is not named loses it."""
    await opened.plane.environments.create(system_actor(), "second")
    await made(http)

    done(await http.put(certificates_path("ca"), json={"environmentList": "second"}))

    found = one(await http.get(certificates_path("ca")))
    assert [each["environmentName"] for each in found["certificateEnvironmentList"]] == ["second"]


async def test_the_export_is_der_for_each_environment(opened: Opened, http: httpx2.AsyncClient) -> None:
    """In a ZIP file, under both of its paths."""
    await opened.plane.environments.create(system_actor(), "second")
    await made(http, environmentList="development, second")

    for path in ("export/", "export-file/"):
        response = await http.get(certificates_path("ca") + path)
        archive = zipfile.ZipFile(io.BytesIO(response.content))

        assert response.headers["content-type"] == "application/octet-stream"
        assert 'filename="Ca-certificates.zip"' in response.headers["content-disposition"]
        assert sorted(archive.namelist()) == ["Ca-development.cer", "Ca-second.cer"]
        assert x509.load_der_x509_certificate(archive.read("Ca-second.cer")) == ROOT.certificate


async def test_a_connection_finds_a_certificate_by_name(http: httpx2.AsyncClient) -> None:
    """Where a field names a certificate, and where a truststore is named and there is none of that name."""
    await made(http)
    body = {
        "type": "ldap", "name": "directory", "serverAddress": "ldaps://ldap.example.com", "baseDn": "dc=example",
        "username": "cn=me", "password": "x", "useSsl": True, "requireCertificateType": "REQUIRED_CN", "certificateName": "CA",
    }  # fmt: skip

    done(await http.post(connection_path("directory"), json=body))

    found = one(await http.get(connection_path("directory")))
    assert found["uses"] == [{"field": "certificateName", "kind": "certificate", "name": "CA"}]
    assert [each["code"] for each in found["warnings"]] == []


async def test_a_deleted_certificate_is_gone(http: httpx2.AsyncClient) -> None:
    """With its alias, which is free again."""
    await made(http)

    result = done(await http.delete(certificates_path("ca")))["deploymentResult"]

    assert result["message"] == "Undeployment completed successfully"
    assert listed(await http.get(PATH)) == []
    done(await made(http, "again", alias="ca"))
