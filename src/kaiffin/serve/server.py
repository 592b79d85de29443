"""The service as a process: its data folder, its workers, its port, its end. Torch-free."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from kaiffin.foundation.errors import ConfigError, nearest
from kaiffin.models.files import shelf
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.published import PUBLISHED
from kaiffin.serve.app import application, gate
from kaiffin.serve.keys import VARIABLE
from kaiffin.serve.security import Rules, hosts_of, is_loopback
from kaiffin.serve.service import Service
from kaiffin.serve.studio import Studio
from kaiffin.serve.supervisor import Supervisor
from kaiffin.serve.work import House

PATIENCE_S = 10  # for answers that are under way when the service ends
TRIED = 100  # ports above one that is taken


@dataclass(frozen=True)
class Serving:
    """How the service is started.

    hosts: further names that it may be called by; bases: further ones that callers may use; on:
    where jobs run, as `experiments.work.places` has it; share: of the time that pictures may take
    from a training; judge, identity_judge: who scores pictures of bases that are no miniatures;
    a1111: whether A1111's API is there as well.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 7870
    hosts: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    on: str = "processes:1"
    share: float = 0.5
    judge: str | None = None
    identity_judge: str | None = None
    a1111: bool = False


@dataclass(frozen=True)
class Address:
    """Where a service answers. login: opens one browser, once; None where a key of the environment
    is meant, since what such a service says goes into a log."""

    url: str
    data: Path
    login: str | None = None


Ready = Callable[[Address], object]


def serve(asked: Serving, ready: Ready = lambda _: None) -> None:
    """Serves until SIGINT or SIGTERM: then answers under way end, trainings save, and the next
    start goes on. ready: called once it answers. UserError for what cannot be served."""
    bases = bases_of(asked.bases)
    listening = _bound(asked.host, asked.port)
    with listening:
        os.environ["HF_HUB_OFFLINE"] = "1"  # workers, too: no request leaves the machine
        studio = Studio.open(asked.data)
        try:
            port = listening.getsockname()[1]
            service = Service(studio, bases, cookie=f"kaiffin_{port}")
            with_token = not _let_in(service, asked)
            _run(service, asked, listening, with_token, ready)
        finally:
            studio.close()


def _let_in(service: Service, asked: Serving) -> bool:
    """Whether the environment has a key, which is taken out of it: workers need to know none.
    ConfigError for another address than loopback without any key."""
    if secret := os.environ.pop(VARIABLE, ""):
        service.keys.adopt(secret)
    if is_loopback(asked.host):
        return bool(secret)
    if not any(key.revoked is None for key in service.keys.every()):
        raise ConfigError(
            f"--host {asked.host} would let others in, and there is no key.",
            f"Make one first: kaiffin keys add NAME --data {asked.data}, or set {VARIABLE}.",
        )
    if not asked.hosts:
        raise ConfigError(
            f"--host {asked.host}: by which name will it be called?",
            "Say it: --allow-host studio.example.org (with :PORT where it is not 80 or 443).",
        )
    return bool(secret)


def _run(
    service: Service, asked: Serving, listening: socket.socket, with_token: bool, ready: Ready
) -> None:  # fmt: skip
    port = listening.getsockname()[1]
    rules = Rules(hosts_of(asked.host, port, asked.hosts), service.cookie)
    app = gate(application(service, a1111=asked.a1111), rules, service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=PATIENCE_S, timeout_keep_alive=75,
    )  # fmt: skip
    server = _Server(
        config, lambda: ready(_address(service, asked, port, with_token)), service.studio.events.end
    )
    house = House(judge=asked.judge, identity_judge=asked.identity_judge)
    supervisor = Supervisor(service.studio, asked.on, asked.share, house)
    service.devices = supervisor.devices
    supervisor.start()
    try:
        server.run(sockets=[listening])
    finally:
        supervisor.stop()


class _Server(uvicorn.Server):
    """Says when it answers and when it ends; ends by a signal as by a word, so that what is behind
    it ends, too."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], object], ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.ready, self.ending = ready, ending

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again at the end, and trainings could not save."""
        before = {sig: signal.signal(sig, self.handle_exit) for sig in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.ending()
        await super().shutdown(sockets)


def _address(service: Service, asked: Serving, port: int, with_token: bool) -> Address:
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    at = f"http://{host}:{port}/"
    login = f"{at}?token={service.keys.new_token()}" if with_token else None
    return Address(at, asked.data, login)


def bases_of(named: Sequence[str]) -> tuple[str, ...]:
    """What callers may use: what is inside Kaiffin, what the user has added, and what is named.
    ConfigError for a name that no base has."""
    added = shelf.names()
    known = {*EMBEDDED, *added, *PUBLISHED}
    for name in named:
        if name not in known:
            raise ConfigError(f"--base {name!r} is no base.", nearest(name, known))
    return tuple(dict.fromkeys((*EMBEDDED, *added, *named)))


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; ConfigError that names the next free port where it is taken."""
    try:
        return _listen(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
    for other in range(port + 1, min(port + TRIED, 65_536)):
        try:
            _listen(host, other).close()
        except OSError:
            continue
        raise ConfigError(
            f"--port {port} of {host}: {reason}.", f"{other} is free: --port {other}."
        )
    raise ConfigError(f"--port {port} of {host}: {reason}.", "Choose another --port or --host.")


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening
