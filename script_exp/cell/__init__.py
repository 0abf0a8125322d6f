"""One cell from its settings to its result: prepare, run, answer, show."""
