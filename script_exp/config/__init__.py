"""Configs and command lines, checked before anything heavy is imported."""
