"""Kaiffin: the pictures it never had, and proof that they are right."""

__version__ = "0.1.0"
