"""What a method gets and gives, and its budget."""
