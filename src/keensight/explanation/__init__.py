"""Numbers alone: what an answer depends on."""
