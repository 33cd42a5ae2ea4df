"""APIs of model servers as values: no I/O."""
