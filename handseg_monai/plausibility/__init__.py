"""Masks without a truth: judged by what hands look like, and by marked joints."""
