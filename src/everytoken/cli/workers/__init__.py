"""`serve --workers`: several processes behind one address, and one that starts them, watches them and starts them again."""
