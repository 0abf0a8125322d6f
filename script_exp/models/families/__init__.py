"""One file per model family, and the interface that each implements."""
