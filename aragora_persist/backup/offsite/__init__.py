"""Backups off-site: in a bucket of any S3-compatible server, or in a folder that is mounted from elsewhere.

``shipping`` brings them there, ``fetching`` brings them back, ``listing`` says what is there. Below them are ``layout``
(what the objects are called, and when they are a whole backup) and ``objects`` (the library that speaks S3, which loads
when it is needed and not before). Nothing here removes or changes what is off-site.
"""

from aragora_persist.backup.offsite.fetching import fetch
from aragora_persist.backup.offsite.listing import Remote, RemoteState, check, look, remote_entries
from aragora_persist.backup.offsite.shipping import Outcome, held_back, oldest_unshipped_age_s, ship, shipped

__all__ = [
    "Outcome",
    "Remote",
    "RemoteState",
    "check",
    "fetch",
    "held_back",
    "look",
    "oldest_unshipped_age_s",
    "remote_entries",
    "ship",
    "shipped",
]
