"""The stores, and the engine below them."""
