"""Our models under lmms-eval's tasks, and its results beside ours; lmms-eval need not be installed."""
