"""The output formats: how a stream's records become the bytes of a body. One module each, listed in `table`."""
