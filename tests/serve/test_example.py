"""The photos for who has none: real ones to the service, the same every time."""

import asyncio

from served import World

from kaiffin.serve.example import make


def test_six_photos_with_captions_that_name_the_subject(world: World) -> None:
    async def made_twice() -> list[str]:
        found = []
        for _ in range(2):
            made = await make(world.service.datasets, "ada")
            photos = world.service.datasets.photos("ada", made.id, 10)
            assert (made.photos, made.cover) == (6, photos[0].id)
            assert all(f"{made.subject} {made.noun}" in photo.caption for photo in photos)
            found.append("".join(sorted(path.read_bytes().hex() for path in
                                        world.studio.dataset(made.id).glob("*.png"))))  # fmt: skip
        await world.service.decoder.close()
        return found

    first, second = asyncio.run(made_twice())
    assert first == second
