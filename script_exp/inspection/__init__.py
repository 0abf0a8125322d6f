"""What methods do to the tokens of single samples. This loads the model, unlike ``script_exp.analysis``."""
