"""From one API of a model server to another, through a form that belongs to none: no I/O, no clock."""
