"""Argilla's server on nothing but SQLite: a search engine, in-process jobs and a launcher."""
