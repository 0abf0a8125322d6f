"""Methods that prune visual tokens before the LLM, one file each."""
