"""Networks that know the truth of the world, and what they find in pictures of it."""
