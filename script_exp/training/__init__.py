"""How the embedded model is trained, exported and judged."""
