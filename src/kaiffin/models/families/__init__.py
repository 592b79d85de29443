"""The families of base models: how each reads words and is asked for a prediction."""
