"""Litestream beside the databases: ships every transaction, so that any moment can be restored.

``configuration`` and ``program`` say how it is called, ``sidecar`` keeps it running, ``record`` is what the sidecar
tells others of it, ``replica`` reads what it has shipped, and ``audit`` whether that is still there. Restoring a moment
is ``backup.point_in_time``.
"""
