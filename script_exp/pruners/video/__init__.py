"""The methods that compare the frames of a video before the LLM, one file each."""
