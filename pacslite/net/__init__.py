"""Associations over asyncio: the only part that touches sockets."""
