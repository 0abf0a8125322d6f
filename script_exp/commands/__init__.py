"""The commands: parse the words, call one function, print; ``main.py`` starts them as ``script-exp``."""
