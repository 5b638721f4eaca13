"""Whether answers get better: two retrievers in one chain, their answers measured by Ragas."""
