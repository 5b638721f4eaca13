"""What logs come in: one module a format, each of which turns its files into lines of uncited's own format."""
