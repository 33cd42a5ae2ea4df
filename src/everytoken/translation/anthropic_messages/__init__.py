"""Messages, translated."""
