"""A service for many users: jobs that survive, workers that do them, and the doors to both."""
