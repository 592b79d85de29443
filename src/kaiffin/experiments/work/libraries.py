"""What workers need of the libraries: imported once, by the process that they are forked from.

Nothing is computed here and no GPU is asked for, since a fork could use neither threads nor a GPU
that were in use before.
"""

from __future__ import annotations

import contextlib
import gc
import os

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else a question takes hold of the GPU

with contextlib.suppress(Exception):  # a worker that misses something says so itself
    from kaiffin.models import parts
    from kaiffin.models.families.spec import SPECS
    from kaiffin.models.files.facts import family_class
    from kaiffin.models.files.pipeline import NoPipeline, pipeline_of

    with parts.quiet():
        for name in SPECS:
            family = family_class(name)
            family.models(), family.readers()
            with contextlib.suppress(NoPipeline):
                pipeline_of(name, ())  # of the proof
gc.freeze()  # its pages stay shared
