"""The interface of the pruning methods, and their budget."""
