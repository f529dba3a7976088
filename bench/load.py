"""Load from a second process: wrk, with a script that makes a new name for every request."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CLIENTS = 32
BODY = (
    '{"type":"email","name":"%s","description":"measured","deployToWorker":true,"enabled":true,'
    '"host":"smtp.example.com","port":587,"enableStartTls":true,"auth":true,"username":"user@example.com",'
    '"password":"app-password","defaultEncoding":"UTF-8","from":"noreply@example.com"}'
)

_CREATE = """
local serial = 0
local body = [[{body}]]
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "application/json"
request = function()
  serial = serial + 1
  local name = "{prefix}-" .. serial
  return wrk.format("POST", "/apiops/projects/MyProject/connections/" .. name .. "/?waitSeconds=0", nil, (body:gsub("%%s", name)))
end
response = function(status) if status ~= 200 then wrong = (wrong or 0) + 1 end end
"""
_GET = """
local serial = 0
wrk.headers["Authorization"] = "Bearer {token}"
request = function()
  serial = serial % {count} + 1
  return wrk.format("GET", "/apiops/projects/MyProject/connections/{prefix}-" .. (serial + 1) .. "/")
end
"""
_POST = """
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "application/json"
wrk.path = "{path}"
wrk.body = [==[{body}]==]
"""


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests per second, how many were answered, and how many not with 200."""

    per_second: float
    requests: int
    wrong: int


def create(url: str, token: str, prefix: str, seconds: int, folder: Path) -> Load:
    """Creates, each with a name of its own."""
    return _wrk(url, _CREATE.format(body=BODY, token=token, prefix=prefix), seconds, folder)


def get(url: str, token: str, prefix: str, count: int, seconds: int, folder: Path) -> Load:
    """Gets of the first *count* connections that `create` made under *prefix*."""
    return _wrk(url, _GET.format(token=token, prefix=prefix, count=count), seconds, folder)


def post(url: str, token: str, path: str, body: str, seconds: float, folder: Path, clients: int = CLIENTS) -> Load:
    """The same request again and again."""
    return _wrk(url, _POST.format(token=token, path=path, body=body), max(1, round(seconds)), folder, clients)


def available() -> bool:
    """Whether wrk is installed (apt-get install wrk)."""
    return shutil.which("wrk") is not None


def _wrk(url: str, script: str, seconds: int, folder: Path, clients: int = CLIENTS) -> Load:
    path = folder / "load.lua"
    path.write_text(script)
    command = ["wrk", "-t1", "--timeout", "30s", f"-c{clients}", f"-d{seconds}s", "-s", str(path), url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, total = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"(\d+) requests in", text)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    assert rate and total, text
    return Load(float(rate[1]), int(total[1]), int(wrong[1]) if wrong else 0)
