"""The backup sidecar: ``loop`` says what is done when, and ``jobs`` does it in processes of their own.

Leaves out: what a backup, a drill or a shipment is; the sidecar runs the same commands as an operator.
"""
