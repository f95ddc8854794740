"""Start the Terraform provider and shake hands: process, socket, channel.

The provider prints one line, ``1|6|unix|<socket>|grpc|``, and then serves. Its log is thrown away: it shows whole
containers with their environments. Only the report of a crash is kept, for the error that follows from it.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Final

from .lifetime import die_with_parent

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

_PROTOCOL_VERSION: Final = "6"
_START_SECONDS: Final = 60.0  # a big binary from a cold disk on a busy machine
_STOP_SECONDS: Final = 3.0
_CRASH_LINES: Final = 20
_CRASH_STARTS: Final = ("panic:", "fatal error:", "runtime:")
_ENVIRONMENT: Final = {
    # HashiCorp's plugins refuse to start without it; it is the same for every Terraform provider.
    "TF_PLUGIN_MAGIC_COOKIE": "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    "PLUGIN_PROTOCOL_VERSIONS": _PROTOCOL_VERSION,
}
_CHANNEL_OPTIONS: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # The socket's file is removed once the connection stands, so this connection must last.
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
]


_SOCKET_DIR: Final = "aragora-bridge-"
_SOCKET_PATH_BYTES: Final = 103  # the shortest limit of a unix socket's path, macOS's; Linux takes 107
_NAMES_BYTES: Final = len(f"/{_SOCKET_DIR}12345678/plugin1234567890")


class ChildError(Exception):
    """The Terraform provider could not be started, or has ended."""


class Child:
    """The running provider. Must be started in the main thread, before any other thread: it forks."""

    def __init__(self, binary: Path) -> None:
        self._socket_dir = _make_socket_dir()
        try:
            self._process = _start(binary, self._socket_dir)
        except OSError as error:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            raise ChildError(f"cannot start {binary}: {error.strerror}") from error
        self._crash: list[str] = []
        threading.Thread(target=self._keep_crash, args=(_pipe(self._process.stderr),), daemon=True).start()

    def connect(self) -> grpc.Channel:
        """Wait for the handshake and connect.

        Raises: ChildError when it does not come, or speaks another protocol.
        """
        import grpc  # noqa: PLC0415 - it starts threads, so only after the child; and the child starts meanwhile

        try:
            address = self._address()
            channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
            try:
                grpc.channel_ready_future(channel).result(timeout=_START_SECONDS)
            except grpc.FutureTimeoutError as error:
                channel.close()
                raise ChildError(f"the Terraform provider does not answer on {address}") from error
        except ChildError:
            self.stop()
            raise
        finally:
            # Nothing may stay behind in the file system even when this process is killed: the connection is enough.
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        return channel

    def ended(self) -> str:
        """Say why the provider no longer answers, or "" while it runs."""
        try:
            code = self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            return ""
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        report = " | ".join(self._crash)
        return f"the Terraform provider ended ({how})" + (f": {report}" if report else "")

    def stop(self) -> None:
        """End the provider; it has nothing to save."""
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _address(self) -> str:
        output = _pipe(self._process.stdout)
        readable, _, _ = select.select([output], [], [], _START_SECONDS)
        line = output.readline().decode(errors="replace").strip() if readable else ""
        parts = line.split("|")
        if len(parts) < 5 or parts[4] != "grpc" or parts[2] not in {"unix", "tcp"}:  # noqa: PLR2004 - fixed form
            raise ChildError(self.ended() or "the Terraform provider printed no handshake")
        if parts[1] != _PROTOCOL_VERSION:
            raise ChildError(f"the Terraform provider speaks protocol {parts[1]}, not {_PROTOCOL_VERSION}")
        return f"unix:{parts[3]}" if parts[2] == "unix" else parts[3]

    def _keep_crash(self, log: IO[bytes]) -> None:
        crashing = False
        with log:
            for raw in log:
                line = raw.decode(errors="replace").rstrip()
                crashing = crashing or line.startswith(_CRASH_STARTS)
                if crashing and len(self._crash) < _CRASH_LINES and line:
                    self._crash.append(line)


def _make_socket_dir() -> str:
    """Make the folder of the provider's socket; below /tmp where a socket's path in the configured one is too long."""
    configured = tempfile.gettempdir()
    fits = len(os.fsencode(configured)) + _NAMES_BYTES <= _SOCKET_PATH_BYTES
    return tempfile.mkdtemp(prefix=_SOCKET_DIR, dir=configured if fits else "/tmp")  # noqa: S108 - mkdtemp makes it private


def _start(binary: Path, socket_dir: str) -> subprocess.Popen[bytes]:
    plugin_pid = os.getpid()
    return subprocess.Popen(
        [str(binary)],
        env={**os.environ, **_ENVIRONMENT, "PLUGIN_UNIX_SOCKET_DIR": socket_dir},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: die_with_parent(plugin_pid, signal.SIGKILL),  # noqa: PLW1509 - no thread runs yet
    )


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ChildError("the Terraform provider was started without pipes")
    return stream
