"""Judges and measures of pictures, and which checkpoint they recommend."""
