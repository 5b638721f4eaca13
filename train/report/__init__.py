"""A run told to people: one page that holds everything, its figures, and its numbers."""
