"""The world that the miniature knows, drawn: animals, places, words."""
