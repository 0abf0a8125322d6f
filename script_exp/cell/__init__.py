"""One cell from its settings to its result: prepared, run, answered, shown."""
