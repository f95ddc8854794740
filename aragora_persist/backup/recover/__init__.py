"""Salvaging a damaged database without a backup: ``recovering`` is the whole of it, page by page (``format``)."""
