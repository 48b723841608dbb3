"""A siege of the server: everything nobody should send, at once, while its health is watched. See docs/server.md."""
