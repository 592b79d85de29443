"""A grid: its axes, its pictures, its sheet and tables."""
