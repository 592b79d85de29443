"""One shape for all that goes wrong, and nothing in it that is nobody's business."""

import json
import sqlite3

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from kaiffin.foundation.errors import RunError, SettingError, UserError
from kaiffin.serve.errors import Refused, answer, over_quota, pathless, without_paths
from kaiffin.serve.jobs import Conflict, NotFound


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/ada/studio/datasets/x1: holds nothing", "x1: holds nothing"),
        ("'/srv/x/c.png' is", "'c.png' is"),
        ("C:\\Users\\ada\\x.png: is damaged", "x.png: is damaged"),
        ("see docs/serving.md, or https://example.org/a/b", "see docs/serving.md, or https://example.org/a/b"),
        ("1/2 of 3/4", "1/2 of 3/4"), ("/x", "/x"),
    ],
)  # fmt: skip
def test_of_a_path_the_name_is_told(text: str, told: str) -> None:
    assert pathless(text) == told
    assert without_paths({"a": [text, 1, None]}) == {"a": [told, 1, None]}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UserError("no.", "do."), 400, "bad_request"), (NotFound("no."), 404, "not_found"),
        (Conflict("no."), 409, "conflict"), (over_quota("no.", "do."), 429, "quota"),
        (Refused(421, "no."), 421, "unknown_host"), (HTTPException(405), 405, "method_not_allowed"),
        (RunError("no.", "The disk is full: free some."), 507, "disk_full"),
        (sqlite3.OperationalError("database or disk is full"), 507, "disk_full"),
        (RuntimeError("secret"), 500, "internal"),
    ],
)  # fmt: skip
def test_one_shape(error: Exception, status: int, code: str) -> None:
    got = answer(error, "/api/v1/jobs")
    body = json.loads(bytes(got.body))
    assert got.status_code == status
    assert set(body["error"]) == {"problem", "way_out", "code"}
    assert body["error"]["code"] == code
    assert body["error"]["problem"]
    assert "secret" not in str(body)


def test_openais_shape() -> None:
    got = answer(
        Refused(404, "there is no model.", "Look.", field="model"), "/v1/images/generations"
    )
    assert json.loads(bytes(got.body)) == {
        "error": {"message": "there is no model. Look.", "type": "invalid_request_error",
                  "param": "model", "code": "not_found"}
    }  # fmt: skip
    assert answer(Conflict("no."), "/v1/x").headers["x-should-retry"] == "false"


def test_the_field_is_named() -> None:
    wrong = {"type": "greater_than_equal", "loc": ("body", "config", "train", "steps"), "input": 0,
             "ctx": {"ge": 1}, "msg": ""}  # fmt: skip
    body = json.loads(bytes(answer(RequestValidationError([wrong]), "/").body))["error"]
    assert body["problem"] == "config.train.steps: must be at least 1."
    assert body["field"] == "config.train.steps"
    error = SettingError("config", "sample.size", [65, 64], "must be divisible by 8")
    assert json.loads(bytes(answer(error, "/").body))["error"]["field"] == "config.sample.size"
