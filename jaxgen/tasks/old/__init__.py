"""Helpers of recipes that are not converted yet."""
