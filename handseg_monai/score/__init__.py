"""Submissions against the truth: Dice, outlines, intervals, tables."""
