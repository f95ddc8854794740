"""Importers: foreign records into the stores and the outbox."""
