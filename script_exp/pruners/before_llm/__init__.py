"""Methods that choose visual tokens before they enter the LLM, one file each."""
