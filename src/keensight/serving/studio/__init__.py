"""The studio: one local page that takes a person from an empty folder to a model."""
