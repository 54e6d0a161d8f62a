"""Networks, in one table, and what they are made of."""
