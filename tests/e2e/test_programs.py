"""`mooring serve`, `mooring worker` and the command line, as separate programs on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mooring.kit.tokens import is_well_formed
from tests.e2e.support import hook_body, hook_server
from tests.support.plane import connection_path

START_S = 30.0


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
    return {**clean, "MOORING_CONFIG": os.devnull, "MOORING_LOG_LEVEL": "warning", "COLUMNS": "200", **more}


def mooring(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One run of the command line."""
    command = [sys.executable, "-m", "mooring", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment(**settings))


@contextlib.contextmanager
def program(*arguments: str, says: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that runs while the block lasts; and the match of the line that says it is ready."""
    command = [sys.executable, "-m", "mooring", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(**settings))
    try:
        assert process.stdout is not None
        found = None
        while found is None:
            line = process.stdout.readline()
            assert line, f"mooring {arguments[0]} ended before it was ready"
            found = re.search(says, line)
        yield process, found[1]
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A control plane without any worker, with a project and an environment; and how to talk to it."""
    data = tmp_path / "plane"
    with program("serve", "--port", "0", "--data-dir", str(data), says=r"listens on (\S+)") as (process, url):
        token = (data / "admin-token").read_text().strip()
        talk = {"MOORING_URL": url, "MOORING_TOKEN": token}
        assert mooring("project", "create", "MyProject", **talk).returncode == 0
        assert mooring("environment", "create", "production", **talk).returncode == 0
        with httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=40, trust_env=False
        ) as api:
            yield {"url": url, "talk": talk, "api": api, "data": data, "process": process}


def enrolment(served: dict[str, Any]) -> str:
    return mooring("worker", "enroll", "--environment", "production", **served["talk"]).stdout.strip()


def start_worker(served: dict[str, Any], folder: Path, *arguments: str, **settings: str) -> Any:
    return program(
        "worker", "--url", served["url"], "--environment", "production", "--data-dir", str(folder), *arguments,
        says=r"its API is at (\S+)", **{"MOORING_EGRESS_LOOPBACK": "true", **settings},
    )  # fmt: skip


def wait_online(served: dict[str, Any], online: bool = True) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        workers = served["api"].get("/apiops/workers/").json()["resultList"]
        if workers and all(worker["online"] is online for worker in workers):
            return
        time.sleep(0.05)
    raise AssertionError(f"no worker became {'online' if online else 'offline'}")


def test_without_any_worker_a_create_says_that_it_will_be_deployed(served):
    """The seed's answer on a fresh install: success, and the state tells the truth."""
    with hook_server("k") as hook:
        result = served["api"].post(connection_path("a"), json=hook_body("a", hook, "k")).json()["deploymentResult"]

    assert (result["success"], result["state"]) == (True, "NO_WORKERS")
    assert "will be deployed when a worker connects" in result["message"]


def test_a_worker_says_where_it_may_connect_to(served, tmp_path):
    """The list of workers shows the egress policy that each one was started with."""
    settings = {"MOORING_EGRESS_DENY": "10.66.0.0/16"}
    with start_worker(served, tmp_path / "w", "--enrol-token", enrolment(served), **settings):
        wait_online(served)
        workers = served["api"].get("/apiops/workers/").json()["resultList"]

    assert [worker["egress"] for worker in workers] == ["allow all; deny 10.66.0.0/16; loopback yes"]


def test_a_worker_enrols_once_and_is_known_after_a_restart(served, tmp_path):
    """The token is good for one worker; that worker starts again without it; a second one is refused."""
    token = enrolment(served)
    with start_worker(served, tmp_path / "w", "--enrol-token", token):
        wait_online(served)
    with start_worker(served, tmp_path / "w"):
        wait_online(served)

    second = mooring(
        "worker",
        "--url",
        served["url"],
        "--environment",
        "production",
        "--data-dir",
        str(tmp_path / "v"),
        "--enrol-token",
        token,
    )

    assert second.returncode == 1
    assert "was used before" in second.stderr and "mooring worker enroll" in second.stderr


def test_what_was_created_before_reaches_a_new_worker(served, tmp_path):
    """A connection created while nobody was there serves as soon as a worker enrols; its socket is its owner's alone."""
    with hook_server("k") as hook:
        served["api"].post(connection_path("early"), json=hook_body("early", hook, "k"))

        with start_worker(served, tmp_path / "w", "--enrol-token", enrolment(served), "--socket", str(tmp_path / "s")):
            wait_online(served)
            with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(tmp_path / "s")), timeout=20) as local:
                answer = local.post("http://worker/v1/MyProject/early/send", json={"body": "x"})

        assert (answer.status_code, answer.json()["status"]) == (200, 200), answer.text
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_loopback_tcp_wants_the_token_and_no_browser(served, tmp_path):
    """On TCP: no token 401, an Origin or a foreign Host 403, the token of the file 200."""
    folder, file = tmp_path / "w", tmp_path / "local-token"
    listen = ("--listen", "127.0.0.1:0", "--local-token-file", str(file))
    with start_worker(served, folder, "--enrol-token", enrolment(served), *listen) as (_, url):
        bearer = {"Authorization": f"Bearer {file.read_text().strip()}"}
        with httpx2.Client(base_url=url, timeout=20, trust_env=False) as local:
            answers = [
                local.get("/v1/").status_code,
                local.get("/v1/", headers={**bearer, "Origin": "http://evil.example"}).status_code,
                local.get("/v1/", headers={**bearer, "Host": "evil.example"}).status_code,
                local.get("/v1/", headers=bearer).status_code,
            ]

    assert answers == [401, 403, 403, 200]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_worker_that_is_away_makes_a_change_pending_and_catches_up(served, tmp_path):
    """With every worker offline a create is PENDING; when it comes back the same deployment has SUCCEEDED."""
    with start_worker(served, tmp_path / "w", "--enrol-token", enrolment(served)):
        wait_online(served)
    wait_online(served, online=False)
    with hook_server("k") as hook:
        result = (
            served["api"].post(connection_path("late"), json=hook_body("late", hook, "k")).json()["deploymentResult"]
        )
        assert (result["success"], result["state"]) == (False, "PENDING")

        with start_worker(served, tmp_path / "w"):
            path = f"{connection_path('late')}deployments/{result['deploymentId']}/"
            deadline = time.monotonic() + START_S
            state = ""
            while state != "SUCCEEDED" and time.monotonic() < deadline:
                state = served["api"].get(path).json()["resultList"][0]["state"]
                time.sleep(0.05)

    assert state == "SUCCEEDED"


def test_a_forgotten_worker_is_out(served, tmp_path):
    """`mooring worker forget`: its stream ends, and it can not come back."""
    with start_worker(served, tmp_path / "w", "--enrol-token", enrolment(served)) as (process, _):
        wait_online(served)
        worker = json.loads(mooring("worker", "list", "--json", **served["talk"]).stdout)[0]["id"]

        assert mooring("worker", "forget", worker, **served["talk"]).returncode == 0

        assert process.wait(START_S) == 1
    again = mooring("worker", "--url", served["url"], "--environment", "production", "--data-dir", str(tmp_path / "w"))
    assert again.returncode == 1
    assert "refuses" in again.stderr


def test_several_workers_all_count(served, tmp_path):
    """With two workers a create waits for both."""
    with start_worker(served, tmp_path / "a", "--enrol-token", enrolment(served)):
        with start_worker(served, tmp_path / "b", "--enrol-token", enrolment(served)):
            deadline = time.monotonic() + START_S
            while time.monotonic() < deadline:
                workers = served["api"].get("/apiops/workers/").json()["resultList"]
                if len(workers) == 2 and all(worker["online"] for worker in workers):
                    break
                time.sleep(0.05)
            with hook_server("k") as hook:
                result = (
                    served["api"]
                    .post(connection_path("both"), json=hook_body("both", hook, "k"))
                    .json()["deploymentResult"]
                )

    assert result["deploymentResults"][0]["workers"] == {
        "expected": 2,
        "applied": 2,
        "failed": 0,
        "pending": 0,
        "offline": 0,
    }


def test_the_administrators_token_may_be_given(tmp_path):
    """MOORING_ADMIN_TOKEN presets the first token; `mooring token generate` prints one that it takes."""
    text = mooring("token", "generate").stdout.strip()
    assert is_well_formed(text)
    data = tmp_path / "plane"

    with program(
        "serve", "--port", "0", "--data-dir", str(data), says=r"listens on (\S+)", MOORING_ADMIN_TOKEN=text
    ) as (_, url):
        answer = httpx2.get(f"{url}/apiops/projects/", headers={"Authorization": f"Bearer {text}"}, trust_env=False)

    assert answer.json() == {"status": "SUCCESS", "resultList": [], "resultCount": 0}
    assert (data / "admin-token").stat().st_mode & 0o777 == 0o600


def test_later_starts_touch_neither_token_nor_file(tmp_path):
    """The administrator's token is printed once and stays valid; a removed file is not written again."""
    data = tmp_path / "plane"
    with program("serve", "--port", "0", "--data-dir", str(data), says=r"listens on (\S+)"):
        token = (data / "admin-token").read_text().strip()
    (data / "admin-token").unlink()

    with program("serve", "--port", "0", "--data-dir", str(data), says=r"listens on (\S+)") as (_, url):
        answer = httpx2.get(f"{url}/apiops/projects/", headers={"Authorization": f"Bearer {token}"}, trust_env=False)

    assert answer.status_code == 200
    assert not (data / "admin-token").exists()


def test_tokens_by_the_command_line(served):
    """Create, list and revoke: the secret is shown once, and a revoked token is refused at once."""
    text = mooring("token", "create", "for-ci", "--grant", "connections:view", **served["talk"]).stdout.strip()
    listed = json.loads(mooring("token", "list", "--json", **served["talk"]).stdout)
    mine = next(token for token in listed if token["name"] == "for-ci")
    headers = {"Authorization": f"Bearer {text}"}
    before = served["api"].get("/apiops/projects/", headers=headers).status_code

    assert mooring("token", "revoke", mine["id"], **served["talk"]).returncode == 0

    after = served["api"].get("/apiops/projects/", headers=headers).status_code
    assert (before, after) == (200, 401)
    assert mine["grants"] == ["connections:view"]
    assert text.split("_")[3] not in json.dumps(listed)


def test_a_second_start_on_one_folder_is_told_who_holds_it(served):
    """One process per data directory; the second one says which process has it, and exits with 1."""
    second = mooring("serve", "--port", "0", "--data-dir", str(served["data"]))

    assert second.returncode == 1
    assert f"in use by process {served['process'].pid}" in second.stderr


def test_a_wrong_master_key_seals_and_writes_nothing(tmp_path):
    """With another key the control plane starts sealed: reads answer, writes are 503 with the reason, nothing changes."""
    data = tmp_path / "plane"
    with program("serve", "--port", "0", "--data-dir", str(data), says=r"listens on (\S+)") as (_, url):
        token = (data / "admin-token").read_text().strip()
        assert mooring("project", "create", "MyProject", MOORING_URL=url, MOORING_TOKEN=token).returncode == 0
    other = {"MOORING_MASTER_KEY": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="}

    with program("serve", "--port", "0", "--data-dir", str(data), says=r"listens on (\S+)", **other) as (_, url):
        with httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=20, trust_env=False
        ) as api:
            body = {"type": "email", "name": "x", "host": "smtp.example.com"}
            written = api.post(connection_path("x"), json=body)
            project = api.post("/apiops/projects/Another/", json={})
            ready = api.get("/readyz")
            listed = api.get("/apiops/projects/MyProject/connections/")

    assert (written.status_code, written.json()["error"]) == (503, "server_error")
    assert "master key" in written.json()["error_description"]
    assert (project.status_code, ready.status_code) == (503, 503)
    assert listed.json()["resultCount"] == 0


def test_version_and_settings():
    """`mooring --version` prints it; `mooring settings` shows every setting and no secret."""
    secret = uuid.uuid4().hex

    shown = mooring("settings", MOORING_TOKEN=secret, MOORING_PORT="1234").stdout

    assert re.fullmatch(r"mooring \d+\.\d+\.\d+\n", mooring("--version").stdout)
    assert "MOORING_PORT" in shown and "1234" in shown
    assert secret not in shown


def test_a_connection_is_tested_from_the_command_line(dev):
    """The steps are printed, with what to do next; the exit status says whether it works."""
    name = f"hook-{uuid.uuid4().hex[:8]}"
    talk = {"MOORING_URL": dev.url, "MOORING_TOKEN": dev.token}
    with hook_server("k") as hook:
        body = hook_body(name, hook, "k")
        assert dev.api.post(connection_path(name), json=body).status_code == 200
        works = mooring("test", f"MyProject/{name}", **talk)
    broken = mooring("test", f"MyProject/{name}", **talk)

    assert (works.returncode, "The connection works" in works.stdout) == (0, True), works
    assert (broken.returncode, "refused the connection" in broken.stdout) == (1, True), broken
