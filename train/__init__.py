"""From labels to models: triplets, splits, exports, training, evaluation."""
