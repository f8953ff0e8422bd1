"""Submissions in other forms, and many of them in one."""
