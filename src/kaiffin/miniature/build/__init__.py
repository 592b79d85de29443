"""How the miniature was made, from nothing; needed to make another, not to use it."""
