"""The frozen base models behind one protocol. Knows no adapter."""
