"""The embedded world: sprites, scenes, and questions about them."""
