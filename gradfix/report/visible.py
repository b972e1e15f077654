"""Text that may go to a terminal: control characters are shown as their pictures, so that no name and no file can send
escape sequences, or begin a line of its own."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # of scripts and emoji: names have them


def visible(text: str) -> str:
    """`text` with every character that isn't printed in place of the ones a terminal would obey."""
    return text if text.isprintable() else "".join(map(picture, text))


def picture(character: str) -> str:
    """What stands for one character: itself where it is harmless."""
    if character < " ":
        return chr(0x2400 + ord(character))
    if character == "\x7f":
        return "\u2421"
    if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and character not in _JOINERS:
        return "\ufffd"  # direction overrides and line separators among them
    return character
