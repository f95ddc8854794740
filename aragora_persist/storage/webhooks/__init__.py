"""The parts of ``WebhookStore``, and the sender of what it keeps."""
