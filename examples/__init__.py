"""Worked examples. `pandas_docs` is what `uncited demo` runs."""
