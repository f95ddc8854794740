"""The persistence tier of an Aragora deployment."""
