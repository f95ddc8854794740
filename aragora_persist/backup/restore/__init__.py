"""Restores: ``restoring`` is that of one database, ``restoring_sets`` that of all databases of one run.

What is restored is found in ``origins``, made ready in ``candidates`` and put in its place by ``exchange``; ``intent``
makes that survive a kill, and is what every opener of a database looks at. So names are imported from these modules:
whoever needs one of them loads no other.
"""
