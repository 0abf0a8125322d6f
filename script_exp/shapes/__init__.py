"""The world of the embedded benchmark: sprites, scenes, and questions about them."""
