"""One file per benchmark: where its samples are, its prompt, its scoring rule."""
