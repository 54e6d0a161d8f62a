"""Finds pictures for labels, and fetches them politely and safely."""
