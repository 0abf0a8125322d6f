"""How commands start, report progress, fail, and stop on signals."""
