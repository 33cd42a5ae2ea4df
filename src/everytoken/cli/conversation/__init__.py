"""A conversation in the terminal: the prompt, its history and commands, and their loop."""
