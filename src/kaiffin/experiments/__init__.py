"""Many trainings and many pictures: what stories about more than one thing are made of."""
