"""What no change within epsilon can undo: bounds of a network's answers."""
