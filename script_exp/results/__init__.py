"""What a run leaves behind, how it is found again, and how finished runs are read."""
