"""The gate: by which name, from which page, with which body, and whose call it is."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import AT, World
from starlette.testclient import TestClient

from kaiffin.serve.security import SAFE_HEADERS, hosts_of, is_loopback

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:7870", "0.0.0.0:7870",
     "127.0.0.1:7870.evil.example", "", "evil.example@127.0.0.1:7870"],
)  # fmt: skip
def test_no_other_name_leads_here(ada: TestClient, host: str) -> None:
    """A page of a name that was bound to this address anew (DNS rebinding) comes with that name."""
    assert ada.get("/api/v1/session", headers={"host": host}).status_code == 421
    assert ada.get("/api/v1/health", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:7870", "LOCALHOST:7870", "[::1]:7870"])
def test_its_own_names(ada: TestClient, host: str) -> None:
    assert ada.get("/api/v1/session", headers={"host": host}).status_code == 200


def test_names_that_were_allowed() -> None:
    found = hosts_of("0.0.0.0", 80, ("Studio.example.org", "other:444"))
    assert {"studio.example.org", "studio.example.org:80", "other:444"} <= found
    assert not {"0.0.0.0:80", "other", "other:80"} & found
    assert [is_loopback(one) for one in ("127.9.9.9", "::1", "localhost")] == [True] * 3
    assert not any(map(is_loopback, ("0.0.0.0", "::", "127.evil.example", "10.0.0.1")))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:8888"},
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
        {"origin": AT, "sec-fetch-site": "cross-site"}, {"origin": "file://"},
        {"origin": "javascript://127.0.0.1:7870"},
    ],
)  # fmt: skip
def test_another_sites_page_changes_nothing(
    world: World, ada: TestClient, headers: dict[str, str]
) -> None:
    owner = world.owner(ada)
    before = len(world.service.datasets.list(owner, 200))
    refused = ada.post("/api/v1/datasets", json={"name": "x"}, headers=headers)
    assert refused.status_code == 403
    assert len(world.service.datasets.list(owner, 200)) == before
    own = {"origin": AT, "sec-fetch-site": "same-origin"}
    assert ada.post("/api/v1/datasets", json={"name": "x"}, headers=own).status_code == 201


def test_ways_to_say_who_one_is(world: World) -> None:
    secret, stranger = world.key("ada"), world.stranger()
    basic = base64.b64encode(f"anyone:{secret}".encode()).decode()
    shown = {
        "/api/v1/session": {f"Bearer {secret}": 200, f"bearer  {secret} ": 200, secret: 401,
                            f"Basic {basic}": 401, "Bearer ": 401, f"Bearer {secret}x": 401},
        "/sdapi/v1/options": {f"Basic {basic}": 200, f"Bearer {secret}": 200, "Basic Og==": 401,
                              "Basic !": 401},
    }  # fmt: skip
    for path, ways in shown.items():
        for way, status in ways.items():
            got = stranger.get(path, headers={"authorization": way})
            assert got.status_code == status, (path, way)
    assert stranger.get("/sdapi/v1/options").headers["www-authenticate"].startswith("Basic")
    assert stranger.get("/v1/models").headers["www-authenticate"] == "Bearer"


def test_a_wrong_key_is_not_mended_by_a_session(world: World) -> None:
    browser = world.stranger()
    browser.get("/", params={"token": world.service.keys.new_token()})
    assert browser.get("/api/v1/session").status_code == 200
    wrong = {"authorization": "Bearer wrong"}
    assert browser.get("/api/v1/session", headers=wrong).status_code == 401


def test_every_answer_keeps_browsers_in_bounds(world: World, ada: TestClient) -> None:
    for got in (
        ada.get("/api/v1/jobs"),
        ada.get("/nothing"),
        world.stranger().get("/x"),
    ):
        for name, value in SAFE_HEADERS.items():
            assert got.headers[name] == value
        assert "unsafe-inline" not in got.headers["content-security-policy"]


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_a_body_is_json(ada: TestClient, kind: str) -> None:
    """What a page may send elsewhere without asking (CORS' simple types) is none of it."""
    sent = ada.post("/api/v1/datasets", content=b'{"name": "x"}', headers={"content-type": kind})
    assert sent.status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": NaN}', b'{"name": 1e400}', b'{"name": -Infinity}', b'{"name": "a", "name": "b"}',
        b'{"name": {"x": 1, "x": 1}}', b"", b"{", b"\xff\xfe", b"[" * 100_000,
        b'{"name": "\\ud800"}',
        b'{"name": ' + b"9" * 5000 + b"}", b"null", b"[]", b'"x"', b"1",
    ],
)  # fmt: skip
def test_json_that_readers_disagree_on(ada: TestClient, body: bytes) -> None:
    got = ada.post("/api/v1/datasets", content=body, headers=JSON)
    assert got.status_code == 400, got.text
    assert got.json()["error"]["problem"]


def test_the_end_of_a_body(ada: TestClient) -> None:
    large = b'{"name": "' + b"x" * 2**20 + b'"}'
    assert ada.post("/api/v1/datasets", content=large, headers=JSON).status_code == 413

    def parts() -> list[bytes]:
        return [large[i : i + 2**16] for i in range(0, len(large), 2**16)]

    assert ada.post("/api/v1/datasets", content=iter(parts()), headers=JSON).status_code == 413


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(values)
def test_any_json_is_answered(world: World, ada: TestClient, value: object) -> None:
    for path in ("/api/v1/jobs", "/api/v1/generate", "/v1/images/generations", "/sdapi/v1/txt2img",
                 "/sdapi/v1/options", "/api/v1/keys"):  # fmt: skip
        got = ada.post(path, content=json.dumps(value).encode(), headers=JSON)
        assert got.status_code < 500, (path, value)
