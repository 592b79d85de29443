"""Trainings of other programs as configs of ours: a table of counterparts for each. Torch-free."""
