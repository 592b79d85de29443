"""Photos and captions, from a folder to what a training step sees. Knows no model."""
