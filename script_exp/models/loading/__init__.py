"""From a name or a folder to a model in memory."""
