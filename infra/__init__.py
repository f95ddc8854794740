"""The Pulumi program of the persistence tier."""
