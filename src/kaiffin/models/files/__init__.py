"""From a name to files to a family, and back to a diffusers folder."""
