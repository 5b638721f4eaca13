"""What runs inside the Argilla server's own environment.

That environment has argilla-server and nothing of uncited, so this folder alone is put on its import path, and
the package `uncited_argilla` below imports neither `labeling` nor `store`.
"""
