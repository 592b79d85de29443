"""What a story answered, shown on the terminal: a module for each kind of answer. Torch-free."""
