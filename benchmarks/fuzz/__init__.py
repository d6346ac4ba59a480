"""Damaged files of every kind edgerec reads: each must give an `EdgerecError` or a valid result, in bounded time and memory."""
