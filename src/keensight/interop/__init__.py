"""Networks of others, and in other formats."""
