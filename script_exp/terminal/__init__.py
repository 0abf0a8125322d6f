"""How commands start, report progress, fail, and end on signals."""
