"""The server: a bundle's answers over HTTP. No torch is loaded."""
