"""What the hub may answer instead of files: each its own sentence. The client is the real one."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hearing import Heard
from hub import HALF_UNET, SD15, UNET, Hub, Repo, cached, take
from huggingface_hub import close_session

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files import kept


def test_offline_what_is_whole_is_used_and_what_is_missing_named(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("sd15", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    take("sd15", True)
    heard = Heard()
    take("sd15", False, heard)  # better than nothing
    assert HALF_UNET in heard.warnings[0]
    kept.remove(cached().folder / HALF_UNET)
    with pytest.raises(MissingWeightsError, match="HF_HUB_OFFLINE is set") as caught:
        take("sd15", True)
    assert HALF_UNET in str(caught.value)
    assert "kaiffin bases get sd15" in str(caught.value)
    with pytest.raises(MissingWeightsError, match=r"'org/other' is not on this machine"):
        take("org/other")
    assert not hub.requests


def test_a_hub_that_cannot_be_reached(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("sd15", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    take("sd15", True)
    heard = Heard()
    take("sd15", False, heard)
    assert heard.warnings
    with pytest.raises(MissingWeightsError, match=r"127.0.0.1:9 cannot be reached"):
        take("org/other")


def test_gated_private_unknown_and_missing_revisions_have_sentences_of_their_own(
    hub: Hub, sd15: Repo
) -> None:
    sd15.gated = True
    hub.datasets.add("org/pictures")
    hub.faults["/org/closed"] = ["403"] * 9
    hub.faults["/org/busy"] = ["429"] * 9
    hub.faults["/org/broken"] = ["500"] * 9
    for name, words in {
        SD15: rf"is gated.* Accept them on {hub.url}/{SD15}, then run `hf auth login`",
        f"{SD15}@nowhere": "has no revision 'nowhere'.*leave @nowhere out",
        "org/pictures": "org/pictures is a dataset",
        "org/unknown": "has no model org/unknown, or hides it.*hf auth login",
        SD15.replace("stable-diffusion-v1-5/s", "stable-difusion-v1-5/s"): f'Did you mean "{SD15}"',
        "runwayml/stable-diffusion-v1-5": f"is gone. Its weights are published as {SD15}",
        "org/closed": "answers 403",
        "org/busy": "Too many requests",
        "org/broken": "answers 500",
    }.items():
        with pytest.raises(MissingWeightsError, match=words):
            take(name)


def test_a_mirror_needs_no_headers_for_weights_and_is_named_where_it_lacks_them(
    hub: Hub, sd15: Repo
) -> None:
    hub.faults[UNET] = ["bare"] * 9
    take("sd15")
    hub.repos["org/other"] = Repo(sd15.files | {"model_index.json": b"{}"})
    hub.faults["model_index.json"] = ["bare"] * 9
    with pytest.raises(MissingWeightsError, match=r"answers what cannot be used.*HF_ENDPOINT"):
        take("org/other")


def test_a_gated_repository_opens_with_a_token(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    sd15.gated = True
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    heard = Heard()
    take("sd15", tell=heard)
    assert "gated" in "".join(heard.notes)


def test_a_renamed_repository_is_taken_and_said(hub: Hub, sd15: Repo) -> None:
    hub.moved["old/name"] = SD15
    heard = Heard()
    first = take("old/name", True, heard)
    assert f"old/name is called {SD15} now" in heard.notes[0]
    hub.requests.clear()
    assert take("old/name", True) == first
    assert not hub.requests


class Refusing(BaseHTTPRequestHandler):
    """A proxy that lets nobody through."""

    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_address[1]
    close_session()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("there", [True, False])
def test_a_proxy_that_refuses_or_is_not_there(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, proxy: int, there: bool
) -> None:
    """The client asks it for every https address; its password is shown to nobody."""
    port = proxy if there else 9
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    close_session()  # which has read the variables
    words = rf"by the proxy 127\.0\.0\.1:{port} .*Look at HTTPS_PROXY"
    with pytest.raises(MissingWeightsError, match=words) as caught:
        take("sd15")
    assert "secret" not in str(caught.value)
