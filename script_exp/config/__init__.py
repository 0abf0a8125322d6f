"""What a config and a command line say, checked before anything heavy is imported."""
