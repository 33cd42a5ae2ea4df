"""Chat completions, from and to the neutral form."""
