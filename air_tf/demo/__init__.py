"""The page on which one draws with the mouse and sees what a model sees."""
