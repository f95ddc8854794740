"""The stores, and the engine below them."""

import logging

# A library says nothing on the standard error of a program that did not ask for its log.
logging.getLogger("aragora_persist").addHandler(logging.NullHandler())
