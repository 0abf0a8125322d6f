"""One file per model family, and the contract that each of them fulfills."""
