"""How the costs grow: with responses, chunks, readers, nodes and what is retained; and what that means for many nodes."""
