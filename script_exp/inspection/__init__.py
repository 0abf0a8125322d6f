"""What a method does to the tokens of single samples: loads the model, unlike ``script_exp.analysis``."""
