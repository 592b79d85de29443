"""An adapter in other programs: read by others' code, proven, described, opened in ComfyUI."""
