"""The server: one engine for many requests. HTTP on one side, the same transcriber as ``run`` on the other.

Nothing outside this folder imports from it but the verb ``api`` of the payload; FastAPI and uvicorn are seen only here.
"""
