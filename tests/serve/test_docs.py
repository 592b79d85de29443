"""docs/serving.md: its proxy runs, its flags and limits are those that there are."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import REPO
from served import World, jpeg, listening

from kaiffin.serve import datasets, decoding, requests, security
from kaiffin.serve.security import Rules

PAGE = (REPO / "docs" / "serving.md").read_text(encoding="utf-8")
NGINX = shutil.which("nginx")


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


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

    named = set(re.findall(r"`--([a-z0-9-]+)", PAGE.partition("## Keys")[0]))
    assert {name.replace("-", "_") for name in named} == {flag.field for flag in own_fields(Serve)}


def test_limits_are_those_that_hold() -> None:
    limits = PAGE.partition("## Limits")[2]
    photo, adapter = (size // security.MB for size in security.UPLOADS.values())
    for text in (
        f"{photo} MB", f"{adapter // 1024} GB, safetensors", f"{decoding.SECONDS:.0f} s",
        f"{decoding.MEMORY // 2**30} GB to open", f"{datasets.MOST:,} in a dataset",
        f"{requests.PICTURES} pictures", f"{requests.SIDE} pixels", f"{requests.TRIALS} trials",
        f"{requests.CEILINGS['train.steps']:,} steps", f"rank {requests.CEILINGS['adapter.rank']}",
        f"{requests.CEILINGS['score.candidates']} candidates", f"{requests.LONGEST} characters",
        f"{requests.CEILINGS['sample.steps']} steps",
    ):  # fmt: skip
        assert text in limits, text
