"""Learning: a session before its first step, the loop, what it costs, what survives a restart."""
