"""The stores for event loops: ``aio.user_store.AsyncUserStore`` stands for ``storage.user_store.UserStore``, and so on.

Each is generated from its store, with the same methods as coroutines. Only what imports this package loads asyncio.
"""
