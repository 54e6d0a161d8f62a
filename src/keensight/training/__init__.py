"""Recipes, the loop, augmentation, checkpoints, tuning."""
