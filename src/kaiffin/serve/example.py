"""Photos that are drawn here, for who has none at hand. Torch-free."""

from __future__ import annotations

import io

from fastapi.concurrency import run_in_threadpool

from kaiffin.foundation.folder import write_bytes
from kaiffin.serve.database import new_id
from kaiffin.serve.datasets import Dataset, Datasets


async def make(datasets: Datasets, owner: str) -> Dataset:
    """A dataset of six photos of Kaiffin, taken in as if they were uploaded."""
    from kaiffin.miniature.world import world  # draws by NumPy, which a start need not wait for

    who = world.SUBJECTS["kaiffin"]
    words = (who.name.capitalize(), who.token, who.class_noun)
    made = await run_in_threadpool(datasets.create, owner, *words)
    for number, (image, caption) in enumerate(world.subject_photos(who.name), 1):
        file = io.BytesIO()
        image.save(file, format="PNG")
        path = datasets.studio.path / "incoming" / new_id()
        write_bytes(path, file.getvalue(), sync=False)
        await datasets.add(owner, made.id, path, f"{who.name}-{number}.png", caption)
    return await run_in_threadpool(datasets.get, owner, made.id)
