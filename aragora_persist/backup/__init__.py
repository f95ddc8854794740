"""Backups: ``snapshot`` and ``verify`` make and check a copy, ``catalog`` records it, ``restore`` brings it back.

``take`` is the whole of one backup, ``sidecar`` the loop around it; ``inventory`` and ``retention`` decide what there
is and what may go; ``intent`` makes a restore survive a kill. Names are imported from these modules, so that opening a
database does not load them all.
"""
