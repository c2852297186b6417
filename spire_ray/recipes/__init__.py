"""Recipes: stages in the order they run."""
