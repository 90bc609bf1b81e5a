"""The search: opening a sweep, asking and telling, driving it to its total, the front and the pick."""
