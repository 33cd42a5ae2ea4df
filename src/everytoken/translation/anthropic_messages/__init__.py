"""Messages, from and to the neutral form."""
