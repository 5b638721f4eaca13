"""Single key strokes from a terminal, and the terminal left as it was found."""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from store.errors import UsageError

END = ""  # what `read_key` returns when the terminal is gone

_ESCAPE = b"\x1b"
_REST_OF_SEQUENCE_S = 0.05  # arrow keys and the like send several bytes at once
_SIGNALS_EVERY_S = 0.2  # a signal that arrives just before a wait begins is handled when the wait ends


def require_terminal(instead: str) -> None:
    """Make sure that somebody sits at the keyboard.

    Raises:
        UsageError: standard input is no terminal; `instead` is the command that needs none.
    """
    if not sys.stdin.isatty():
        raise UsageError("standard input is no terminal, so nobody can press keys", hint=instead)


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    @contextlib.contextmanager
    def single_keys() -> Iterator[None]:
        """Windows reads single keys as it is."""
        yield

    @contextlib.contextmanager
    def whole_lines() -> Iterator[None]:
        """Windows reads lines as it is."""
        yield

    def forget_typed() -> None:
        """Drop the keys that nobody has read yet."""
        while msvcrt.kbhit():
            msvcrt.getwch()

    def read_key() -> str:
        r"""Wait for a key and return its character, "\x00" for keys that have none."""
        key = msvcrt.getwch()
        if key == "\x03":
            raise KeyboardInterrupt
        if key in ("\x00", "\xe0"):
            msvcrt.getwch()
            return "\x00"
        return key

else:
    import termios
    import tty

    @contextlib.contextmanager
    def single_keys() -> Iterator[None]:
        """Let keys arrive one by one and unseen, also after a pause (Ctrl-Z and `fg`), until the end of the block."""
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)

        def take(signal_number: int = 0, frame: FrameType | None = None) -> None:
            with contextlib.suppress(termios.error):  # a terminal that goes away sends this signal as well
                tty.setcbreak(terminal)

        resumed = signal.signal(signal.SIGCONT, take)
        take()
        try:
            yield
        finally:
            signal.signal(signal.SIGCONT, resumed)
            with contextlib.suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    @contextlib.contextmanager
    def whole_lines() -> Iterator[None]:
        """Let lines be typed and seen, inside of `single_keys`."""
        terminal = sys.stdin.fileno()
        single = termios.tcgetattr(terminal)
        lines = termios.tcgetattr(terminal)
        lines[0] |= termios.ICRNL
        lines[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(terminal, termios.TCSADRAIN, lines)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, single)

    def forget_typed() -> None:
        """Drop the keys that nobody has read yet."""
        with contextlib.suppress(termios.error):  # the terminal may be gone
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def read_key() -> str:
        r"""Wait for a key and return its character.

        Returns:
            "\x00" for keys that have none (arrows and the like), `END` when the terminal is gone.
        """
        terminal = sys.stdin.fileno()
        try:
            while not select.select([terminal], [], [], _SIGNALS_EVERY_S)[0]:
                pass
            typed = os.read(terminal, 1)
            if typed == _ESCAPE:
                while select.select([terminal], [], [], _REST_OF_SEQUENCE_S)[0] and os.read(terminal, 64):
                    pass
                return "\x00"
            while typed and len(typed) < _length(typed[0]):
                typed += os.read(terminal, 1)
        except OSError:
            return END
        return typed.decode(errors="replace")


def _length(first: int) -> int:
    """Return the number of bytes of the UTF-8 character that begins with this one."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
