"""Adapter files of every layout: read, written, edited; without a base."""
