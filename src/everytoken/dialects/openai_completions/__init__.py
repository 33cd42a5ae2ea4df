"""OpenAI's completions, the older API of a prompt and a text: those of one prompt, of which text is all that comes."""
