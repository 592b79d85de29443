"""Coming in by the address that was printed, or with a key; going again."""

from http.cookies import SimpleCookie

from served import World


def test_the_printed_address_opens_one_session(world: World) -> None:
    browser, token = world.stranger(), world.service.keys.new_token()
    got = browser.get("/", params={"token": token}, follow_redirects=False)
    assert (got.status_code, got.headers["location"]) == (303, "./")
    cookie = SimpleCookie(got.headers["set-cookie"])["kaiffin_7870"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert token not in got.headers["set-cookie"]
    assert browser.get("/api/v1/session").json()["user"] == "operator"
    other = world.stranger()
    again = other.get("/", params={"token": token})
    assert (again.status_code, again.headers["content-type"][:9]) == (401, "text/html")
    described = world.app.openapi()["paths"]["/"]["get"]["responses"]["401"]
    assert set(described["content"]) == {"text/html", "application/json"}
    assert browser.delete("/api/v1/session").status_code == 204
    assert browser.get("/api/v1/session").status_code == 401


def test_a_key_opens_a_session_of_its_scopes(world: World) -> None:
    browser, secret = world.stranger(), world.key("ada", "read")
    got = browser.post("/api/v1/session", json={"key": secret})
    assert got.json()["scopes"] == ["read"]
    assert browser.get("/api/v1/jobs").status_code == 200
    assert browser.post("/api/v1/datasets", json={}).status_code == 403
    assert browser.post("/api/v1/session", json={"key": "wrong"}).status_code == 401


def test_behind_a_proxy_the_cookie_is_of_its_path_and_secure(world: World) -> None:
    ahead = {"x-forwarded-prefix": "/kaiffin/", "x-forwarded-proto": "https"}
    for prefix, path in (("/kaiffin/", "/kaiffin"), ("/x; domain=evil.example", "/"), ("", "/")):
        headers = {**ahead, "x-forwarded-prefix": prefix}
        body = {"key": world.key("ada")}
        got = world.stranger().post("/api/v1/session", json=body, headers=headers)
        cookie = SimpleCookie(got.headers["set-cookie"])["kaiffin_7870"]
        assert (cookie["path"], cookie["secure"], cookie["domain"]) == (path, True, "")
