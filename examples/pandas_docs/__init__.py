"""The demo: the docstrings of the installed pandas as chunks, and real questions about them."""
