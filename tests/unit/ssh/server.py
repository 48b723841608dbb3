"""An SSH server for tests: runs commands under a home directory of its own, and can damage what it is sent.

Run as a program, so that a test can stop it (SIGSTOP) or kill it as a whole. Prints its port once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

import asyncssh

CHUNK = 1 << 16


class Server:
    def __init__(self, home: Path, damaged_uploads: int) -> None:
        self.home = home
        self.damaged_uploads = damaged_uploads

    async def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """One exec request: a shell, its three streams, its exit status or signal."""
        damage = "cat >" in (process.command or "") and self.damaged_uploads > 0
        self.damaged_uploads -= damage
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command or "",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.home,
            env={**os.environ, "HOME": str(self.home)},
        )
        assert child.stdin
        assert child.stdout
        assert child.stderr
        feeding = asyncio.create_task(self.feed(process, child.stdin, damage=damage))
        try:
            await asyncio.gather(
                self.pump(child.stdout, process.stdout), self.pump(child.stderr, process.stderr), child.wait()
            )
        finally:
            feeding.cancel()
            if child.returncode is None:
                child.kill()
        status = child.returncode or 0
        if status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)

    @staticmethod
    async def feed(process: asyncssh.SSHServerProcess[bytes], sink: asyncio.StreamWriter, *, damage: bool) -> None:
        try:
            while data := await process.stdin.read(CHUNK):
                sink.write(bytes([data[0] ^ 1]) + data[1:] if damage else data)
                await sink.drain()
            sink.close()
        except (asyncssh.Error, ConnectionError):
            # The client has hung up, or the command does not read: either way its input ends here.
            sink.close()

    @staticmethod
    async def pump(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()


class Forwarding(asyncssh.SSHServer):
    """Lets ports be forwarded to wherever a client asks."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host-key", required=True)
    parser.add_argument("--authorized-keys", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--damaged-uploads", type=int, default=0)
    arguments = parser.parse_args()
    server = Server(arguments.home, arguments.damaged_uploads)
    listener = await asyncssh.listen(
        "127.0.0.1",
        arguments.port,
        server_host_keys=[arguments.host_key],
        authorized_client_keys=arguments.authorized_keys,
        server_factory=Forwarding,
        process_factory=server.serve,
        encoding=None,
        reuse_address=True,
    )
    print(listener.get_port(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
