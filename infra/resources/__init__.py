"""Resources of our own, for what no provider knows."""
