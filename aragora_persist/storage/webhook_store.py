"""Webhooks: what organizations want to be told, and what others tell this one.

The store is made of parts that share one database: configurations, their secrets, the queue of deliveries, their
history, and the receipts of what came in. Leaves out: the network. ``webhooks.sender`` sends what the queue holds,
``webhooks.signing`` signs and verifies.
"""

from __future__ import annotations

from aragora_persist.storage.webhooks.configs import WebhookConfigs
from aragora_persist.storage.webhooks.history import WebhookHistory
from aragora_persist.storage.webhooks.queue import WebhookQueue
from aragora_persist.storage.webhooks.receipts import WebhookReceipts
from aragora_persist.storage.webhooks.sealing import WebhookSecrets


class WebhookStore(WebhookConfigs, WebhookSecrets, WebhookQueue, WebhookHistory, WebhookReceipts):
    """The webhooks of one database. ``db_path`` None is ``aragora_users.db`` under ``NOMIC_DIR``.

    Methods that are called for an organization take its id first, and find nothing of another one's. Methods that write
    take a transaction of the same database as ``tx``; without one, each is its own.
    """
