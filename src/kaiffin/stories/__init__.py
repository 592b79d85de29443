"""One page for each command, read from top to bottom: takes a config, answers with a value."""
