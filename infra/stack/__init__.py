"""The life of a stack on this machine: what `scripts/up` and `scripts/down` do around Pulumi's own commands."""
