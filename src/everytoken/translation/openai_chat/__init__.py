"""Chat completions, translated."""
