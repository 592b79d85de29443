"""The gate before every route: which host, from which page, of which type and size, and who calls.

Everything is refused but what is let through here: a route that somebody adds is closed until its
caller has shown a key or a session. Torch-free.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, NoReturn

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaiffin.serve.errors import Refused, answer
from kaiffin.serve.keys import Caller, Keys
from kaiffin.serve.page import FILES

OPEN = {("GET", "/"), ("GET", "/api/v1/health"), ("POST", "/api/v1/session")}
OPEN |= {("GET", f"/page/{name}") for name in FILES}  # who logs in needs them, too
SAFE = ("GET", "HEAD", "OPTIONS")
MB = 2**20
JSON_BYTES = MB
# Bodies that are files, and what one may have. Everything else is JSON.
UPLOADS = {
    re.compile(r"/api/v1/datasets/[^/]+/photos"): 100 * MB,
    re.compile(r"/api/v1/adapters"): 2048 * MB,
    re.compile(r"/api/v1/recipes"): 100 * MB,
    re.compile(r"/api/v1/uploads"): 100 * MB,
    re.compile(r"/v1/images/edits"): 100 * MB,
}
LARGE_JSON = {"/sdapi/v1/img2img": 64 * MB}  # with pictures in base64
SAFE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Rules:
    """hosts: what the Host header may be, exactly; cookie: the name of the session's."""

    hosts: frozenset[str]
    cookie: str = "kaiffin"
    headers: Mapping[str, str] = field(default_factory=lambda: SAFE_HEADERS)


def hosts_of(address: str, port: int, allowed: tuple[str, ...] = ()) -> frozenset[str]:
    """The names by which a server at this address may be called; allowed: others, with or without
    a port."""
    own = ["localhost", "127.0.0.1", "[::1]"]
    own += [f"[{address}]" if ":" in address else address] if is_loopback(address) else []
    found = {f"{name}:{port}" for name in own} | {name.lower() for name in allowed}
    return frozenset(found | {f"{name}:{port}".lower() for name in allowed if ":" not in name})


def is_loopback(address: str) -> bool:
    return address in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", address))


def prefix_of(headers: Headers) -> str:
    """The path below which a proxy says that the service stands, "" for the root. A caller who
    makes it up changes his own answer alone."""
    prefix = headers.get("x-forwarded-prefix", "").rstrip("/")
    return prefix if re.fullmatch(r"(/[A-Za-z0-9._-]+)+", prefix) else ""


def is_https(headers: Headers) -> bool:
    """Whether a proxy says that the caller came by TLS."""
    return headers.get("x-forwarded-proto") == "https"


class Gate:
    """ASGI around the application; `scope["state"]["caller"]` is who calls, None where nobody has
    to be known."""

    def __init__(self, app: ASGIApp, rules: Rules, keys: Keys) -> None:
        self.app, self.rules, self.keys = app, rules, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        sending = self._with_headers(send)
        try:
            headers = Headers(scope=scope)
            self._check_place(scope, headers)
            state = scope.setdefault("state", {})
            state["caller"] = self._caller(scope, headers)
            state["is_in"] = lambda: self._is_in(scope, headers)
            receive = await self._checked_body(scope, headers, receive)
        except Refused as error:
            await answer(error, scope["path"])(scope, receive, sending)
            return
        await self.app(scope, receive, sending)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.rules.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        return sending

    # --- from where -----------------------------------------------------------------------------

    def _check_place(self, scope: Scope, headers: Headers) -> None:
        """The Host is one of ours, exactly, so that no other name leads here (DNS rebinding); what
        changes something comes from our own page or from no page."""
        named = headers.getlist("host")
        if len(named) != 1 or named[0].lower() not in self.rules.hosts:
            raise Refused(421, "the service is not known by this name.",
                          "Start it with --allow-host NAME to call it by another.")  # fmt: skip
        if scope["method"] in SAFE:
            return
        site = headers.get("sec-fetch-site", "none")
        origin = headers.get("origin")
        foreign = origin is not None and not self._is_own(origin)
        if site not in ("none", "same-origin") or foreign:
            raise Refused(403, "another site's page may change nothing here.",
                          "Call from the service's own page, or from a program.")  # fmt: skip

    def _is_own(self, origin: str) -> bool:
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and rest.lower() in self.rules.hosts

    # --- who ------------------------------------------------------------------------------------

    def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        path = scope["path"]
        caller = self._of_header(path, headers.get("authorization", ""))
        if caller is None and "authorization" not in headers:
            session = self.session(headers)
            caller = self.keys.caller_of_session(session) if session else None
        if caller is None and (scope["method"], path) not in OPEN:
            _refuse_stranger(path)
        return caller

    def _is_in(self, scope: Scope, headers: Headers) -> bool:
        """Whether the caller is still let in: keys are revoked while a stream is open."""
        try:
            return self._caller(scope, headers) is not None
        except Refused:
            return False

    def session(self, headers: Headers) -> str:
        """The secret in the session's cookie, "" where there is none."""
        try:
            jar = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return jar[self.rules.cookie].value if self.rules.cookie in jar else ""

    def _of_header(self, path: str, text: str) -> Caller | None:
        kind, _, secret = text.partition(" ")
        secret = secret.strip()
        if kind.lower() == "basic" and path.startswith("/sdapi/"):
            try:
                secret = base64.b64decode(secret).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                return None
        elif kind.lower() != "bearer":
            return None
        return self.keys.caller(secret) if secret else None

    # --- what -----------------------------------------------------------------------------------

    async def _checked_body(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """A body of JSON is read and checked; of a file, counted while it comes."""
        if scope["method"] in SAFE:
            return receive
        length = headers.get("content-length", "")
        if not length.isdecimal() and "transfer-encoding" not in headers:
            return receive  # there is none
        if length == "0":
            return receive
        limit = next((size for path, size in UPLOADS.items() if path.fullmatch(scope["path"])), 0)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "multipart/form-data" if limit else "application/json"
        if kind != wanted:
            raise Refused(415, f"the body is {kind or 'of no type'}.", f"Send {wanted}.")
        most = limit or LARGE_JSON.get(scope["path"], JSON_BYTES)
        if length.isdecimal() and int(length) > most:
            _refuse_large(most)
        if limit:
            return _counted(receive, limit)
        body = await _read(receive, most)
        _refuse_bad_json(body)
        return _replayed(body, receive)


def _refuse_stranger(path: str) -> NoReturn:
    basic = path.startswith("/sdapi/")
    raise Refused(
        401, "who is calling is not known.",
        "Send a key: Authorization: Bearer KEY" + (", or Basic with it as password." if basic
        else "; or open the address that `kaiffin serve` printed."),
        headers={"www-authenticate": 'Basic realm="kaiffin"' if basic else "Bearer"},
    )  # fmt: skip


def _refuse_large(limit: int) -> NoReturn:
    raise Refused(413, f"more than {limit // MB} MB are not taken here.", "Send less at once.")


def _counted(receive: Receive, limit: int) -> Receive:
    """Ends a body that is longer than it may be, whatever its header said."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, f"more than {limit // MB} MB are not taken here")
        return message

    return counting


async def _read(receive: Receive, most: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "the body ended early.", "Send it again.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            _refuse_large(most)
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replaying() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


def _refuse_bad_json(body: bytes) -> None:
    """What readers disagree on: a name twice in an object, numbers that are none, endless depth."""
    try:
        json.loads(body, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise Refused(400, "the body is nested too deeply.", "Send plain JSON.") from None
    except ValueError as error:
        said = str(error) if isinstance(error, _Bad) else "is no JSON"
        raise Refused(400, f"the body {said}.", "Send one JSON object.") from None


class _Bad(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _Bad(f"names {twice[:40]!r} twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise _Bad(f"holds {text}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Bad(f"holds {text[:20]}, which is too large")
    return value
