"""The bundle's format: writing, reading, signing and verifying it. No torch where it is read."""
