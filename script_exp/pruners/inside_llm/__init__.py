"""Methods that drop visual tokens between the LLM's layers, one file each."""
