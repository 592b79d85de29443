"""docs/serving.md: its commands, clients, proxy, unit and backup run; its flags and limits are
those that there are."""

import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from conftest import REPO
from served import World, jpeg, listening

from kaiffin.serve import datasets, decoding, requests, security
from kaiffin.serve.security import Rules

PAGE = (REPO / "docs" / "serving.md").read_text(encoding="utf-8")
NGINX = shutil.which("nginx")


def block(kind: str, having: str = "") -> str:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return next(text for name, text in found if name == kind and having in text)


class House:
    """A folder in which the page's commands are run as they stand, but for the port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.at, self.key = folder, "", ""
        (folder / ".venv").symlink_to(sys.prefix)

    def shell(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", command.replace("http://127.0.0.1:7870", self.at)], cwd=self.folder,
            capture_output=True, text=True, env={**os.environ, "KEY": self.key},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=f"{self.at}/api/v1/", headers=headers, timeout=120)

    def kept(self) -> tuple[set[str], dict[str, bytes]]:
        """The ids of all jobs, all pictures."""
        with self.client() as client:
            jobs, images = (client.get(name).json()["items"] for name in ("jobs", "images"))
            files = {one["id"]: client.get(f"images/{one['id']}/file").content for one in images}
        return {one["id"] for one in jobs}, files

    def walk(self) -> str:
        """In the order of the page: a key, pictures by curl and by OpenAI's client, and a copy
        while one more job is there, whose id it is."""
        add, curl = block("", "keys add laptop").split("\n", 1)
        self.key = self.shell(add).split()[-1]
        assert json.loads(self.shell(curl))["state"] == "done"
        assert len(json.loads(self.shell(block("", "/v1/images/generations")))["data"]) == 1
        with openai.OpenAI(base_url=f"{self.at}/v1", api_key=self.key) as client:
            exec(block("python", "images.generate"), {"client": client})
        asked = {"base": "miniature", "prompts": ["a dog"], "sample": {"steps": 150}, "count": 8}
        with self.client() as client:
            late = client.post("generate", json=asked).json()["id"]
        self.shell(block("", "sqlite3"))
        return late


@pytest.fixture
def house(tmp_path: Path) -> House:
    missing = [name for name in ("curl", "sqlite3", "rsync") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    return House(tmp_path)


def test_key_clients_and_backup(
    world: World, house: House, at: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (house.folder / "studio").symlink_to(world.studio.path)
    house.at = at
    late = house.walk()
    jobs, files = house.kept()
    assert late in jobs
    copy = tmp_path_factory.mktemp("restored") / "studio"
    (house.folder / "backup").rename(copy)
    again = World(copy)
    try:
        with again.stranger() as client:
            client.headers["authorization"] = f"Bearer {house.key}"
            found = client.get("/api/v1/jobs").json()["items"]
            assert {one["id"] for one in found} == jobs
            known = [one["id"] for one in client.get("/api/v1/images").json()["items"]]
            assert len(known) >= 7  # those of the last job may have come after the copy
            for id in known:
                assert client.get(f"/api/v1/images/{id}/file").content == files[id]
    finally:
        again.studio.close()


@contextlib.contextmanager
def serving(house: House) -> Iterator[None]:
    """While the page's first command runs, at any free port."""
    words = shlex.split(block("", "kaiffin serve\n").splitlines()[-1])
    with subprocess.Popen(
        [*words, "--port", "0"], cwd=house.folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = re.search(r"http://[^/]+", process.stdout.readline())
        assert address
        house.at = address[0]
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
    assert process.returncode == 0


@pytest.mark.slow  # two services with workers
def test_start_backup_restore_and_start(house: House) -> None:
    """The whole page by real processes; on the copy, the job that was waiting is done."""
    with serving(house):
        late = house.walk()
        jobs, files = house.kept()
    shutil.rmtree(house.folder / "studio")
    (house.folder / "backup").rename(house.folder / "studio")
    with serving(house):
        with house.client() as client:
            done = client.get(f"jobs/{late}", params={"wait": 100}).json()
        assert done["state"] == "done", done
        found, pictures = house.kept()
    assert found == jobs
    assert len(pictures) == 4 + 1 + 2 + 8
    assert files.items() <= pictures.items()


def test_the_unit(tmp_path: Path) -> None:
    """It is one for systemd, its command is Kaiffin's, and all that is written lies where the unit
    may write."""
    text = block("ini")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # ty: ignore[invalid-assignment]
    unit.read_string(text)
    service = unit["Service"]
    state = f"/var/lib/{service['StateDirectory']}"
    program, command, *words = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("kaiffin", "serve")
    asked = dict(zip(words[::2], words[1::2], strict=True))
    assert asked["--data"].startswith(f"{state}/")
    assert service["Environment"] == f"HOME={state}"
    assert service["KillMode"] == "mixed"  # a worker that is stopped by another counts as dead
    assert set(asked) <= {f"--{name}" for name in re.findall(r"`--([a-z0-9-]+)", PAGE)}
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / "kaiffin.service"
    file.write_text(text.replace(program, sys.executable))
    done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def proxied(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's block in a server of nginx', before a service that goes by another name."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    socket = folder / "socket"
    rules = Rules(frozenset({"studio.example.org"}), "kaiffin_7870")
    with listening(world, rules) as at:
        inside = block("nginx").replace("http://127.0.0.1:7870", at)
        paths = "".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        conf = folder / "nginx.conf"
        conf.write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
            f"http {{ access_log off; {paths} server {{ listen unix:{socket};\n{inside} }} }}"
        )
        process = subprocess.Popen([NGINX, "-e", f"{folder}/log", "-c", str(conf)])
        while not socket.exists():
            assert process.poll() is None, (folder / "log").read_text()
        yield str(socket)
        process.terminate()
        process.wait()


def test_behind_nginx_below_a_path(world: World, proxied: str) -> None:
    transport = httpx.HTTPTransport(uds=proxied)
    origin = {"origin": "http://studio.example.org", "sec-fetch-site": "same-origin"}
    at = "http://studio.example.org/kaiffin/"
    with httpx.Client(transport=transport, base_url=at, headers=origin, timeout=30) as browser:
        assert browser.get("api/v1/jobs").status_code == 401
        got = browser.get("", params={"token": world.service.keys.new_token()})
        assert got.headers["location"] == "./"
        assert "Path=/kaiffin;" in got.headers["set-cookie"]
        assert browser.get("api/v1/session").json()["user"] == "operator"
        dataset = browser.post("api/v1/datasets", json={}).json()["id"]
        noisy = jpeg(side=2000, quality=100)
        sent = browser.post(f"api/v1/datasets/{dataset}/photos", files={"file": ("a.jpg", noisy)})
        assert sent.status_code == 201
        with browser.stream("GET", "api/v1/events?since=0") as stream:
            lines = stream.iter_lines()
            next(lines)
            job = {"base": "miniature", "prompts": ["a dog"]}
            key = {"authorization": f"Bearer {world.key('operator')}"}
            world.stranger().post("/api/v1/generate", json=job, headers=key)
            assert any("queued" in line for line in lines)  # at once: nothing is kept back
        foreign = {"origin": "http://evil.example"}
        assert browser.post("api/v1/datasets", json={}, headers=foreign).status_code == 403


def test_flags_are_the_commands(tmp_path: Path) -> None:
    from kaiffin.cli.serving import Serve
    from kaiffin.cli.settings import own_fields

    named = set(re.findall(r"`--([a-z0-9-]+)", PAGE.partition("## Keys")[0])) - {
        "json"
    }  # every command has
    assert {name.replace("-", "_") for name in named} == {flag.field for flag in own_fields(Serve)}


def test_limits_are_those_that_hold() -> None:
    limits = PAGE.partition("## Limits")[2]
    photo, adapter = (size // security.MB for size in [*security.UPLOADS.values()][:2])
    for text in (
        f"{photo} MB", f"{adapter // 1024} GB, safetensors", f"{decoding.SECONDS:.0f} s",
        f"{decoding.MEMORY // 2**30} GB to open", f"{datasets.MOST:,} in a dataset",
        f"{requests.PICTURES} pictures", f"{requests.SIDE} pixels", f"{requests.TRIALS} trials",
        f"{requests.CEILINGS['train.steps']:,} steps", f"rank {requests.CEILINGS['adapter.rank']}",
        f"{requests.CEILINGS['score.candidates']} candidates", f"{requests.LONGEST} characters",
        f"{requests.CEILINGS['sample.steps']} steps",
    ):  # fmt: skip
        assert text in limits, text
