"""The service as a process: its start, its address, its signals, its folder."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from kaiffin.foundation.errors import ConfigError
from kaiffin.serve.keys import VARIABLE, opened
from kaiffin.serve.server import Serving, bases_of, serve

SECRET = "k" * 64


class Served:
    """`kaiffin serve` with its lines."""

    def __init__(self, folder: Path, *, key: str = "", port: int = 0) -> None:
        command = [sys.executable, "-m", "kaiffin", "serve", "--data", str(folder)]
        command += ["--port", str(port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, VARIABLE: key, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.lines: list[str] = []

    def until(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if word in line:
                return line
        raise AssertionError(f"{self.lines} {self.process.communicate()[1]}")

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, error = self.process.communicate(timeout=180)
        return self.process.returncode, error


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "studio"


@pytest.fixture(scope="module")
def served(data: Path) -> Iterator[Served]:
    made = Served(data)
    yield made
    made.process.kill()
    made.process.wait()


def test_the_service_from_start_to_end(served: Served, data: Path) -> None:
    """One process for all of it: what it prints, who gets in, and how it ends."""
    url = re.search(r"http://\S+", served.until("?token="))
    assert url
    at = url[0].partition("?")[0]
    with httpx.Client(base_url=at) as browser:
        assert browser.get("api/v1/jobs").status_code == 401
        assert browser.get(url[0], follow_redirects=True).status_code == 200
        assert browser.get("api/v1/session").json()["user"] == "operator"
        assert browser.get("api/v1/devices").json()[0]["on"] == "processes:1"
        assert browser.get(url[0]).status_code == 401
        assert "server" not in browser.get("api/v1/health").headers
    with opened(data) as keys:  # while it runs
        _, secret = keys.add("late", user="ada")
    late = {"authorization": f"Bearer {secret}"}
    assert httpx.get(f"{at}api/v1/session", headers=late).json()["user"] == "ada"
    renamed = {**late, "host": "evil.example"}
    assert httpx.get(f"{at}api/v1/session", headers=renamed).status_code == 421

    second = Served(data)
    assert second.process.wait(60) == 2
    assert "serves it already" in (second.process.communicate()[1])

    job = {"base": "miniature", "prompts": ["a dog"], "sample": {"steps": 2}}
    made = httpx.post(f"{at}api/v1/generate?wait=150", json=job, headers=late, timeout=180).json()
    assert made["state"] == "done", made
    (image,) = made["result"]["images"]
    picture = httpx.get(f"{at}api/v1/images/{image}/file", headers=late)
    assert picture.content.startswith(b"\x89PNG")
    recipe = httpx.get(f"{at}api/v1/images/{image}/recipe", headers=late).json()
    assert recipe["base"]["name"] == "miniature"
    maps = Path(f"/proc/{served.process.pid}/maps")
    assert not maps.is_file() or "libtorch" not in maps.read_text()

    job["sample"] = {"steps": 150}
    id = httpx.post(f"{at}api/v1/generate", json=job, headers=late).json()["id"]
    httpx.post(f"{at}api/v1/jobs/{id}/pause", headers=late)
    waits = HTTPConnection("127.0.0.1", int(at.rstrip("/").rpartition(":")[2]))
    waits.request("GET", "/api/v1/health")
    waits.getresponse().read()
    with httpx.stream("GET", f"{at}api/v1/events", headers=late, timeout=60) as stream:
        next(stream.iter_lines())
        waits.request("GET", f"/api/v1/jobs/{id}?wait=300", headers=late)
        code, error = served.end(signal.SIGTERM)  # neither keeps it
    assert json.loads(waits.getresponse().read())["state"] in ("queued", "pausing", "paused")
    waits.close()
    assert (code, error) == (0, "")
    said = "".join(served.lines)
    assert secret not in said
    assert said.count("token=") == 1


def test_with_a_key_of_the_environment_no_token_is_said(tmp_path: Path) -> None:
    served = Served(tmp_path / "studio", key=SECRET)
    served.until("kaiffin keys add")
    assert served.end(signal.SIGINT) == (0, "")
    assert "token" not in "".join(served.lines)
    assert SECRET not in "".join(served.lines)


def test_a_port_in_use_is_named_with_one_that_is_free(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as refused:
            serve(Serving(tmp_path / "studio", port=port))
    assert f"--port {port} of 127.0.0.1" in refused.value.message
    free = re.search(r"--port (\d+)", refused.value.fix)
    assert free
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(free[1])))
    assert not (tmp_path / "studio").exists()


def test_others_are_let_in_on_purpose_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as the service itself does
    asked = Serving(tmp_path / "studio", "0.0.0.0", 0)
    with pytest.raises(ConfigError, match="there is no key"):
        serve(asked)
    monkeypatch.setenv(VARIABLE, SECRET)
    with pytest.raises(ConfigError) as refused:
        serve(asked)
    assert "--allow-host" in refused.value.fix
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(ConfigError, match=VARIABLE):
        serve(asked)


def test_bases_are_the_operators_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIFFIN_HOME", str(tmp_path))
    assert bases_of(()) == ("miniature", "miniature-xl")
    (tmp_path / "bases.json").write_text('{"mine": "/models/mine.safetensors"}')
    assert bases_of(("sd15",)) == ("miniature", "miniature-xl", "mine", "sd15")
    with pytest.raises(ConfigError, match="org/model"):
        bases_of(("org/model",))


@pytest.mark.slow  # a training that is stopped and goes on
def test_a_training_saves_at_ctrl_c_and_goes_on(tmp_path: Path) -> None:
    from served import jpeg

    key = {"authorization": f"Bearer {SECRET}"}

    def start() -> tuple[Served, httpx.Client]:
        made = Served(tmp_path / "studio", key=SECRET)
        url = re.search(r"http://[^\s?]+", made.until("http://"))
        assert url
        return made, httpx.Client(base_url=f"{url[0]}api/v1", headers=key, timeout=120)

    served, client = start()
    dataset = client.post("/datasets", json={}).json()["id"]
    for i in range(3):
        file = {"file": (f"{i}.jpg", jpeg((80 * i, 9, 9)))}
        assert client.post(f"/datasets/{dataset}/photos", files=file).status_code == 201
    config = {"train": {"steps": 60}, "subject": {"noun": "puffin"}, "data": {"skip_bad": True}}
    job = client.post("/train", json={"dataset": dataset, "config": config}).json()["id"]
    while client.get(f"/jobs/{job}").json()["progress"]["done"] < 5:
        time.sleep(0.2)
    assert served.end(signal.SIGINT)[0] == 0
    served, client = start()
    done = client.get(f"/jobs/{job}?wait=300", timeout=320).json()
    assert done["state"] == "done", done
    assert done["attempts"] == 0
    assert len(client.get(f"/runs/{job}/metrics").json()) == 60
    assert served.end(signal.SIGTERM)[0] == 0
