"""Keys by the API, for who has the scope admin."""

from served import World
from starlette.testclient import TestClient


def test_a_key_is_made_used_and_revoked(world: World, ada: TestClient) -> None:
    body = {"name": "script", "user": "carl", "scopes": ["read"], "pictures": 3}
    made = ada.post("/api/v1/keys", json=body).json()
    assert made["key"]["quotas"]["pictures"] == 3
    script = world.stranger()
    script.headers["authorization"] = f"Bearer {made['secret']}"
    assert script.get("/api/v1/session").json()["user"] == "carl"
    assert made["secret"] not in ada.get("/api/v1/keys").text
    assert {"carl", "ada"} <= {one["name"] for one in ada.get("/api/v1/users").json()}
    assert ada.post("/api/v1/keys", json=body).status_code == 409
    assert ada.delete(f"/api/v1/keys/{made['key']['id']}").json()["revoked"]
    assert script.get("/api/v1/session").status_code == 401
    assert ada.delete("/api/v1/keys/nobody").status_code == 404
