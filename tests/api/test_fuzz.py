"""
Our own description of the API against a real server: generated requests, by schemathesis.

MOORING_FUZZ_EXAMPLES says how many for each operation; MOORING_FUZZ_SEED picks others than the usual ones.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from mooring.api.routes import ROUTES
from mooring.domain.names import why_not_a_name
from mooring.plugin.registry import Registry
from mooring.wire.openapi import describe
from tests.support.keystores import authority, certificates_path, keystore, keystores_path
from tests.support.plane import Dev, connection_path, email, running_dev

EXAMPLES = int(os.environ.get("MOORING_FUZZ_EXAMPLES", "15"))
SEED = os.environ.get("MOORING_FUZZ_SEED")
PROJECT = "MyProject"
ALWAYS = [
    not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.response_headers_conformance, checks.unsupported_method,
]  # fmt: skip
CONFIG = SchemathesisConfig.from_dict(
    {
        # Every request carries a token: what happens without one stands in test_contract.
        "generation": {"with-security-parameters": False},
        # 412 answers an If-Match that is well-formed and not the present one.
        "checks": {
            "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "409", "412", "503"]}
        },
    }
)
SCHEMA = schemathesis.openapi.from_dict(describe(Registry(), ROUTES, "0"), config=CONFIG)
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
# Without parameters and without a body there is nothing to get wrong.
WITH_INPUT = [operation for operation in OPERATIONS if operation.body or any(operation.iter_parameters())]
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
every_input = pytest.mark.parametrize("operation", WITH_INPUT, ids=lambda operation: operation.label)


@pytest.fixture(scope="module")
def server() -> Iterator[Dev]:
    """A server for generated requests alone: some of them delete things."""
    with running_dev() as running:
        for card in Registry():
            path = connection_path(f"fuzz-{card.name}")
            running.api.post(path, json={**card.example, "name": f"fuzz-{card.name}"}).raise_for_status()
        yield running


def _is_connection_body(operation: APIOperation) -> bool:
    own = ("/connections/{name}/", "/connections/{name}/test/")
    return operation.method in ("post", "put") and operation.path.endswith(own)


def _takes_a_file(operation: APIOperation) -> bool:
    return operation.method in ("post", "put") and ("/keystores" in operation.path or "/certificates" in operation.path)


def _has_rules(operation: APIOperation) -> bool:
    if operation.path.endswith("/environmentVariables/{name}/"):
        return True  # also of its name
    return operation.method in ("post", "put") and operation.path.endswith("/users/{user}")


def _run(
    operation: APIOperation, server: Dev, mode: GenerationMode, which: list, prepare: Callable[[Case], bool], **fixed
) -> list[tuple[Case, object]]:
    """Send generated requests, check each answer, and give them back. *prepare* fits a case to what there is."""
    sent = []

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], derandomize=SEED is None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode, **fixed))
    def every(case: Case) -> None:
        if not prepare(case):
            return
        response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"})
        sent.append((case, response))
        try:
            case.validate_response(response, checks=which)
        except FailureGroup as group:
            # One line for each: the whole report repeats what was sent at any length.
            told = [f"{type(failure).__name__}: {failure}"[:600] for failure in group.exceptions]
            raise AssertionError("\n".join([*told, response.text[:600]])) from None

    (every if SEED is None else seed(int(SEED))(every))()
    return sent


def _fixed(operation: APIOperation, mode: GenerationMode) -> dict:
    """Path parameters that exist, for the operations that only look."""
    parameters = {}
    if "{project}" in operation.path and not (
        operation.method in ("post", "delete") and operation.path.endswith("{project}")
    ):
        parameters["project"] = PROJECT
    if operation.path == "/apiops/environments/{name}" and operation.method == "get":
        parameters["name"] = PROJECT
    elif operation.path.startswith("/apiops/environments/{name}/"):
        parameters["name"] = "development"
    if (
        mode is GenerationMode.NEGATIVE
        and not operation.body
        and len(parameters) == len(list(operation.iter_parameters()))
    ):
        # There would be nothing left to get wrong.
        return {}
    return {"path_parameters": parameters}


def _decoded(case: Case) -> dict[str, str]:
    """The path parameters as they are meant: a case holds them escaped."""
    return {key: unquote(str(value)) for key, value in (case.path_parameters or {}).items()}


def _fitted(case: Case) -> bool:
    """Make path and body of a case agree in what no schema can say; False where the path cannot be one."""
    parameters, body = _decoded(case), case.body
    if any(why_not_a_name(value) for value in parameters.values()):
        return False
    if isinstance(body, dict):
        if "name" in body and parameters:
            body["name"] = parameters.get("name", parameters.get("project"))
        for absent in ("projects", "projectName"):
            body.pop(absent, None)
    return True


@cache
def _certificate() -> str:
    return authority().certificate_pem


def _make_material(server: Dev, case: Case) -> None:
    """What is asked for is there: a missing one is answered with 400, as documented."""
    name = _decoded(case).get("name", "")
    if "/keystores/{name}" in case.operation.path:
        server.api.post(keystores_path(), json=keystore(name, _certificate().encode()))
    elif "/certificates/{name}" in case.operation.path:
        body = {
            "certificateName": name,
            "alias": name,
            "environmentList": "development",
            "pemEncodedFile": _certificate(),
        }
        server.api.post(certificates_path(), json=body)


def _ready(server: Dev) -> Callable[[Case], bool]:
    """As `_fitted`; and what the case would make is not there, and what it would delete is."""

    def prepare(case: Case) -> bool:
        if not _fitted(case):
            return False
        path = case.operation.path.format(**(case.path_parameters or {}))
        if case.method.upper() == "POST" and case.operation.path.endswith("}"):
            server.api.delete(path)
        if path.rstrip("/").endswith("/globalize"):
            server.api.delete(connection_path(_decoded(case)["name"], "admin"))
            server.api.post(connection_path(_decoded(case)["name"]), json=email(_decoded(case)["name"]))
        if case.method.upper() == "DELETE" and "/connections/" in path:
            server.api.post(path, json=email(_decoded(case)["name"]))
        _make_material(server, case)
        return True

    return prepare


@every_operation
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "broken"])
def test_answers_are_as_described(server, operation, mode):
    """Whatever is sent, the answer is no 5xx and is one that the description has: status, type, shape."""
    if mode is GenerationMode.NEGATIVE and operation not in WITH_INPUT:
        pytest.skip("nothing can be wrong")
    for fixed in ({}, _fixed(operation, mode)):
        _run(operation, server, mode, ALWAYS, lambda case: True, **fixed)


@every_input
def test_fitting_requests_are_accepted(server, operation):
    """What fits the description is accepted, or refused for a reason that no description holds."""
    if _is_connection_body(operation):
        pytest.skip("rules between fields are in no schema: see test_fitting_bodies_have_the_right_shape")
    if _takes_a_file(operation):
        pytest.skip("what is a keystore or a certificate is in no schema: see test_keystores and test_certificates")
    if _has_rules(operation):
        pytest.skip("rules between fields are in no schema: see test_variables and test_people")

    _run(
        operation,
        server,
        GenerationMode.POSITIVE,
        [*ALWAYS, checks.positive_data_acceptance],
        _ready(server),
        **_fixed(operation, GenerationMode.POSITIVE),
    )


@every_input
def test_broken_requests_are_refused(server, operation):
    """What breaks the description is refused."""
    fixed = _fixed(operation, GenerationMode.NEGATIVE)
    if _is_connection_body(operation):
        # Numbers as text and the like are taken from old clients, and described to nobody: the body is a good one here.
        fixed = {
            "path_parameters": {"project": PROJECT, "name": "fuzz-email"},
            "body": email("fuzz-email"),
            "media_type": "application/json",
        }

    _run(
        operation,
        server,
        GenerationMode.NEGATIVE,
        [*ALWAYS, checks.negative_data_rejection],
        lambda case: True,
        **fixed,
    )


SHAPE = (
    "is not a known field",
    "must be text",
    "must be a whole number",
    "must be a list",
    "must be an object",
    "must be true or false",
)


@pytest.mark.parametrize(
    "operation",
    [operation for operation in OPERATIONS if _is_connection_body(operation)],
    ids=lambda operation: operation.label,
)
def test_fitting_bodies_have_the_right_shape(server, operation):
    """A connection's body that fits the description is never refused for its keys or for the sort of its values."""

    def fit(case: Case) -> bool:
        if not isinstance(case.body, dict) or not _fitted(case):
            return False
        if operation.method == "put":
            case.path_parameters["name"] = case.body["name"] = f"fuzz-{case.body['type']}"
        return True

    sent = _run(operation, server, GenerationMode.POSITIVE, ALWAYS, fit, path_parameters={"project": PROJECT})

    assert sent
    for case, response in sent:
        problems = json.loads(response.content).get("errors", [])
        assert [problem for problem in problems if problem["message"].endswith(SHAPE)] == [], case.body
        assert response.status_code in (200, 400, 409, 412)


def test_every_example_of_the_description_is_accepted(server):
    """The examples that the description prints are bodies that POST accepts."""
    schemas = SCHEMA.raw_schema["components"]["schemas"]
    for number, reference in enumerate(schemas["Connection"]["oneOf"]):
        for example in schemas[reference["$ref"].rsplit("/", 1)[1]]["examples"]:
            name = f"example-{number}"
            response = server.api.post(connection_path(name), json={**example, "name": name})
            assert response.status_code == 200, response.text


def test_what_is_read_fits_what_is_written(server):
    """What GET prints fits the description of what PUT takes."""
    import jsonschema_rs

    schemas = SCHEMA.raw_schema["components"]["schemas"]
    for card in Registry():
        found = server.api.get(connection_path(f"fuzz-{card.name}")).json()["resultList"][0]
        name = f"{card.config.__name__.removesuffix('Config')}Connection"
        validator = jsonschema_rs.Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        )
        assert [error.message for error in validator.iter_errors(found)] == [], card.name


def test_description_is_served_as_it_is(server):
    """The description that is served is the one that these tests read, and every route of the table stands in it."""
    served = server.api.get("/openapi.json").json()

    assert served["openapi"].startswith("3.1")
    assert served["paths"] == SCHEMA.raw_schema["paths"]
    assert sum(len(methods) for methods in served["paths"].values()) == sum(not route.hidden for route in ROUTES)
