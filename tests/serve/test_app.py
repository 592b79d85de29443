"""The whole table of routes: closed to strangers, each with its scope, and described."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from served import World
from starlette.testclient import TestClient

from kaiffin.serve.keys import SCOPES, Scope
from kaiffin.serve.security import OPEN
from kaiffin.serve.service import Needs

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X")
NOBODY = "a" * 16
BESIDE = {
    "/", "/docs", "/openapi.json", "/api/v1/../v1/jobs", "//api/v1/jobs", "/api/v1/health/",
    "/api/v1/jobs/", "/static/x", "/metrics",
}  # fmt: skip
NONE = ({}, {"authorization": "Bearer x"}, {"cookie": "kaiffin_7870=x"})


def routes(world: World) -> Iterator[APIRoute]:
    for route in world.app.routes:
        for one in getattr(route, "original_router", route).__dict__.get("routes", [route]):
            assert isinstance(one, APIRoute), one
            yield one


def filled(path: str) -> str:
    for name in ("id", "photo", "name", "number", "step", "act"):
        path = path.replace(
            f"{{{name}}}", {"number": "0", "step": "0", "act": "cancel"}.get(name, NOBODY)
        )
    assert "{" not in path
    return path


def paths(world: World) -> set[str]:
    found = {filled(route.path) for route in routes(world)}
    assert len(found) > 50
    return found


def test_no_method_of_any_route_is_open_to_strangers(world: World) -> None:
    with world.stranger() as stranger:
        for path in paths(world) | BESIDE:
            for method in METHODS:
                for credentials in NONE if method in ("GET", "POST") else NONE[:1]:
                    got = stranger.request(method, path, headers=credentials)
                    allowed = (200, 400) if (method, path) in OPEN else (401, 405)
                    assert got.status_code in allowed, (method, path, got.status_code)


def test_what_is_open_says_nothing_to_strangers(world: World) -> None:
    stranger = world.stranger()
    assert set(stranger.get("/api/v1/health").json()) == {"ok", "version"}
    assert stranger.post("/api/v1/session", json={"key": "x" * 43}).status_code == 401
    assert stranger.get("/", params={"token": "x"}).status_code == 401


def needed(route: APIRoute) -> tuple[Scope, ...]:
    given = list(route.dependant.dependencies)
    given += [inner for one in given for inner in one.dependencies]  # of those that need others
    found = [one.call for one in given if isinstance(one.call, Needs)]
    assert len(found) <= 1
    return found[0].scopes if found else ()


def test_every_route_asks_for_a_scope(world: World) -> None:
    for route in routes(world):
        for method in route.methods:
            assert needed(route) or (method, route.path) in OPEN, route.path


@pytest.fixture(scope="module")
def narrow(world: World) -> Iterator[dict[Scope, TestClient]]:
    with contextlib.ExitStack() as stack:
        yield {scope: stack.enter_context(world.caller("eve", scope)) for scope in SCOPES}


def test_a_key_opens_what_its_scope_says(world: World, narrow: dict[Scope, TestClient]) -> None:
    for route in routes(world):
        scopes = needed(route)
        for scope, client in narrow.items() if scopes else ():
            if route.path == "/api/v1/events" and scope in scopes:
                continue  # a stream without an end
            for method in route.methods:
                got = client.request(method, filled(route.path))
                is_closed = got.status_code == 403
                assert is_closed == (scope not in scopes), (method, route.path, scope, got.text)


def test_anothers_things_are_not_there(world: World, ada: TestClient, bob: TestClient) -> None:
    dataset = ada.post("/api/v1/datasets", json={}).json()["id"]
    job = ada.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a"]}).json()["id"]
    train = ada.post("/api/v1/train", json={"dataset": dataset}).json()["id"]
    (image,) = world.paint(world.owner(ada), job)
    own = {"datasets": dataset, "jobs": job, "runs": train, "images": image}
    for what, id in own.items():
        assert ada.get(f"/api/v1/{what}/{id}").status_code == 200
        for path in paths(world):
            if path.startswith(f"/api/v1/{what}/{NOBODY}"):
                asked = path.replace(NOBODY, id)
                assert bob.get(asked).status_code in (404, 405), asked
        assert bob.delete(f"/api/v1/{what}/{id}").status_code in (404, 405)
        assert id not in bob.get(f"/api/v1/{what}").text
    for body in ({"dataset": dataset}, {"dataset": dataset, "config": {"train": {"steps": 1}}}):
        assert bob.post("/api/v1/train", json=body).status_code == 404
    asked = {"run": train, "prompts": ["a"]}
    assert bob.post("/api/v1/generate", json=asked).status_code == 404
    assert bob.post(f"/api/v1/jobs/{job}/cancel").status_code == 404
    assert ada.get(f"/api/v1/jobs/{job}").json()["state"] == "queued"


def test_its_description_is_whole(ada: TestClient, world: World) -> None:
    found = ada.get("/api/v1/openapi.json").json()
    assert set(found["paths"]) == {route.path for route in routes(world)}
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
            assert "401" in operation["responses"]
            assert "422" not in operation["responses"]


def test_the_server_starts_without_what_computes() -> None:
    code = (
        "import sys; import kaiffin.serve.server, kaiffin.serve.app\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'ray', 'numpy', 'scipy', 'safetensors'}\n"
        "print(*(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
