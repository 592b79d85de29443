"""The service: `kaiffin serve`, and `kaiffin keys ...`. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from kaiffin.cli.settings import Command, argument, option
from kaiffin.foundation.extras import needs

DATA = Path("studio")


def _data() -> Path:
    return option(DATA, "folder with everything that the service keeps")


class Serve(Command):
    """Serve Kaiffin to programs and browsers; prints the address to open."""

    data: Path = _data()
    host: str = option("127.0.0.1", "address to listen at")
    port: int = option(7870, "port to listen at; 0 is any", ge=0, le=65_535)
    allow_host: list[str] = option(
        [], "a name that it may be called by, as behind a proxy; repeatable", metavar="NAME[:PORT]"
    )
    base: list[str] = option(
        [], "a base that callers may use beside the embedded ones and those of `kaiffin bases add`;"
        " repeatable", metavar="NAME",
    )  # fmt: skip
    on: str = option(
        "processes:1", "where jobs run: processes:N, gpus, gpus:0,1, ray, ray://HOST:10001",
        metavar="PLACE",
    )  # fmt: skip
    share: Annotated[float, Field(ge=0, le=1)] = option(
        0.5, "of the time that pictures may take from a training on the same device"
    )
    judge: str | None = option(
        None, "model that scores pictures of real bases: a folder or hub id with CLIP or SigLIP"
    )
    identity_judge: str | None = option(
        None, "another for pictures against photos, such as DINOv2; default: judge"
    )
    a1111: bool = option(False, "with as much of A1111's API as Open WebUI and SillyTavern use")

    def __call__(self) -> None:
        from kaiffin.cli.show import keys as show

        with needs("serve", "`kaiffin serve`"):
            from kaiffin.serve.server import Serving, serve

        asked = Serving(
            self.data, self.host, self.port, tuple(self.allow_host), tuple(self.base), self.on,
            self.share, self.judge, self.identity_judge, self.a1111,
        )  # fmt: skip
        serve(asked, lambda at: self.answer(at, show.address))


class Add(Command):
    """Make a key; it is shown this once."""

    name: str = argument("what the key is called")
    user: str = option("operator", "whose it is; made where there is none")
    scopes: str = option("read,generate,train,admin", "what it opens", metavar="SCOPE,...")
    pictures: int | None = option(None, "pictures a day that it may ask for", ge=0)
    queued: int | None = option(None, "jobs of its user's that may wait", ge=0)
    bytes: int | None = option(
        None, "bytes of photos, adapters, pictures and runs", ge=0, le=10**15
    )
    data: Path = _data()

    def __call__(self) -> None:
        from kaiffin.cli.show import keys as show
        from kaiffin.serve.keys import Quotas, opened

        scopes = [part.strip() for part in self.scopes.split(",") if part.strip()]
        with opened(self.data) as keys:
            quotas = Quotas(self.pictures, self.queued, self.bytes)
            key, secret = keys.add(self.name, user=self.user, scopes=scopes, quotas=quotas)
            made: dict[str, Any] = {"key": key, "secret": secret}
            self.answer(made, lambda made: show.added(**made))


class List(Command):
    """Every key of a data folder, without its secret."""

    data: Path = _data()

    def __call__(self) -> None:
        from kaiffin.cli.show import keys as show
        from kaiffin.serve.keys import opened

        with opened(self.data) as keys:
            self.answer(keys.every(), show.listed)


class Revoke(Command):
    """Make a key open nothing, from now on."""

    key: str = argument("its name or id")
    data: Path = _data()

    def __call__(self) -> None:
        from kaiffin.cli.show import keys as show
        from kaiffin.serve.keys import opened

        with opened(self.data) as keys:
            self.answer(keys.revoke(self.key), show.revoked)
