"""A conversation in the terminal: what is kept of it, the prompt, its commands, and their loop."""
