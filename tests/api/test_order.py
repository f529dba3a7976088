"""The order of refusals: of two things that are wrong, the one that comes first in the contract is answered."""

import itertools

import pytest

from tests.api.answers import refusal
from tests.support.plane import client_of, connection_path, email

# What is wrong, in the order of the contract, and how its answer begins.
STEPS = {
    "token": "Invalid token",
    "project": "Project 'Nowhere' not found",
    "permission": "You do not have permission",
    "path name": "Connection name is not valid: ",
    "body": "Request body is not valid JSON: ",
    "type": "Connection type (nope) is not valid!",
    "name match": "Connection name in path (",
    "existence": "Connection (name: taken",
    "fields": "port is not valid: ",
}
# Two of these cannot be wrong at once: a body that is no JSON has neither type nor name.
UNREADABLE = {"type", "name match", "fields"}
PAIRS = [
    pair
    for pair in itertools.combinations(STEPS, 2)
    if not (pair[0] == "body" and (pair[1] in UNREADABLE or pair[1] == "existence"))
]


async def _create(opened, http, token_with, wrong):
    """The refusal of a create in which the parts named in *wrong* are wrong."""
    await http.post(connection_path("taken"), json=email("taken"))
    token = (
        "none" if "token" in wrong else await token_with(*(() if "permission" in wrong else ("connections:manage",)))
    )
    project = "Nowhere" if "project" in wrong else "MyProject"
    path_name = "taken" if "existence" in wrong else "fresh"
    body = email(path_name)
    if "path name" in wrong:
        path_name = " " + path_name
    if "name match" in wrong:
        # The other name is taken, where a taken one is asked for.
        path_name += "-other"
    if "type" in wrong:
        body["type"] = "nope"
    if "fields" in wrong:
        body["port"] = 0
    async with client_of(opened.plane, token) as client:
        options = (
            {"content": "{", "headers": {"Content-Type": "application/json"}} if "body" in wrong else {"json": body}
        )
        return refusal(await client.post(connection_path(path_name, project), **options))


@pytest.mark.parametrize("wrong", [(step,) for step in STEPS], ids=" ".join)
async def test_each_step_has_its_answer(opened, http, token_with, wrong):
    """One thing that is wrong has its own answer."""
    assert (await _create(opened, http, token_with, wrong))[2].startswith(STEPS[wrong[0]])


@pytest.mark.parametrize("wrong", PAIRS, ids=" before ".join)
async def test_earlier_step_answers(opened, http, token_with, wrong):
    """Of two things that are wrong, the earlier one is answered."""
    assert (await _create(opened, http, token_with, wrong))[2].startswith(STEPS[wrong[0]])


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(("headers", "content", "expected"), [
    ({"Content-Type": "text/plain"}, "{}", "Content-Type must be application/json"),
    ({"Content-Type": "application/json", "If-Match": "x"}, "{}", "If-Match must be "),
    ({"Content-Type": "application/json", "Idempotency-Key": " "}, "{}", "Idempotency-Key must be "),
    ({"Content-Type": "application/json"}, "{", "Request body is not valid JSON: "),
])  # fmt: skip
async def test_project_and_permission_come_before_headers(http, opened, token_with, method, headers, content, expected):
    """What is wrong with headers or body is said to those only who may change connections of that project."""
    async with client_of(opened.plane, await token_with("connections:view")) as client:
        texts = [
            refusal(await who.request(method, connection_path(name, project), headers=headers, content=content))[2]
            for who, project, name in (
                (http, "Nowhere", "a"), (client, "MyProject", "a"), (http, "MyProject", "a "), (http, "MyProject", "a"),
            )
        ]  # fmt: skip

    assert texts[0] == "Project 'Nowhere' not found"
    assert texts[1].startswith("You do not have permission to perform this action. It needs the grant ")
    assert texts[2].startswith("Connection name is not valid")
    assert texts[3].startswith(expected)


@pytest.mark.parametrize("wrong", ["type", "existence", "precondition", "type change", "taken", "fields"])
async def test_update_order(http, wrong):
    """On PUT an unknown type comes first, then the missing connection, the generation, the type, the name, the fields."""
    order = ["type", "existence", "precondition", "type change", "taken", "fields"]
    also = order[order.index(wrong) :]
    await http.post(connection_path("a"), json=email("a"))
    await http.post(connection_path("taken"), json=email("taken"))
    body = email("taken" if "taken" in also else "a")
    if "fields" in also:
        body["port"] = 0
    if "type change" in also:
        body["type"] = "webhook"
    if "type" in also:
        body["type"] = "nope"
    headers = {"If-Match": '"7"'} if "precondition" in also else {}

    response = await http.put(connection_path("ghost" if "existence" in also else "a"), json=body, headers=headers)

    assert refusal(response)[2].startswith(
        {
            "type": "Connection type (nope) is not valid!", "existence": "Connection (name: ghost) was not found!",
            "precondition": "Connection (name: a) has changed since", "type change": "Connection type can not be changed!",
            "taken": "Connection (name: taken) already exists!", "fields": "port is not valid: ",
        }[wrong]
    )  # fmt: skip
