"""Pictures to arrays, without torch: sources, splits, pixels, the cache."""
