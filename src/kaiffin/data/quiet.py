"""Decoders that write lines of their own to the terminal, silenced: what they mean is said by name.

Torch-free.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging

from PIL import Image


@functools.cache
def hush() -> None:
    """Once for the process. libtiff, which Pillow carries, prints to stderr past Python."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with contextlib.suppress(OSError, AttributeError):  # a Pillow with its libraries hidden inside
        tiff = ctypes.CDLL(Image.core.__file__)
        for setter in (tiff.TIFFSetErrorHandler, tiff.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)
