"""What every room stands on: the config, a run's folder, errors, randomness, a story's voice."""
