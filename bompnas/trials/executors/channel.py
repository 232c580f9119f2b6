"""Messages of any size between the driver and a worker, which neither side waits long to send or to receive.

A pipe holds some 100 kB, and who writes more waits for the reader: a driver that sends to a worker that sends would
wait for ever. So the pipe carries small messages, and the names of files that hold the large ones.
"""

import os
import tempfile
from multiprocessing import connection
from pathlib import Path

from bompnas.whole_files import naming

SMALL = 1 << 14  # [bytes]
_HERE, _IN_FILE = b"h", b"f"


class Channel:
    """One end of a pipe.

    Args:
        pipe: The end.
        folder: Holds large messages on their way; the same for both ends.
    """

    def __init__(self, pipe: connection.Connection, folder: Path):
        self.pipe = pipe
        self._folder = folder

    def fileno(self) -> int:
        """What `multiprocessing.connection.wait` waits for."""
        return self.pipe.fileno()

    def send(self, message: bytes) -> None:
        """Sends a message.

        Raises:
            OSError: The other side is gone (`BrokenPipeError`), or the folder is full.
        """
        if len(message) <= SMALL:
            self.pipe.send_bytes(_HERE + message)
            return
        descriptor, name = tempfile.mkstemp(prefix="message-", dir=self._folder)
        try:
            with naming(name), os.fdopen(descriptor, "wb") as file:
                file.write(message)
        except OSError:
            os.unlink(name)
            raise
        self.pipe.send_bytes(_IN_FILE + name.encode())

    def receive(self) -> bytes:
        """Waits for a message.

        Raises:
            EOFError, OSError: The other side is gone, perhaps in the middle of a message.
        """
        message = self.pipe.recv_bytes()
        kind, content = message[:1], message[1:]
        if kind == _HERE:
            return content
        path = Path(content.decode())
        try:
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes this end."""
        self.pipe.close()
