"""A system-call filter. It keeps a program from the memory of other processes, the server's above all.

On hosts that allow no mounts of one's own it also closes what Landlock leaves open.
Landlock knows neither modes, owners, times and attributes of files nor Unix sockets nor UDP. Changes of the former do
nothing and report success, so that copying a file still works; `socket` is refused, `socketpair` is not.
Numbers are those of the kernel's public headers (`asm/unistd.h`, `linux/seccomp.h`, `linux/filter.h`).
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_OFFSET, ARCHITECTURE_OFFSET = 0, 4  # in `struct seccomp_data`
PRETEND, EPERM, EACCES, ENOSYS = 0, 1, 13, 38
X32 = 0x40000000  # the bit of system calls in the x32 convention


@dataclass(frozen=True)
class _Calls:
    """System calls of one architecture and what each answers."""

    architecture: int  # AUDIT_ARCH_…
    pretend: tuple[int, ...]  # chmod, chown, utime, setxattr and their kin
    socket: int
    foreign: tuple[int, ...]  # ptrace, process_vm_writev: other processes' memory
    borrowed: int = 438  # pidfd_getfd: their descriptors
    ring: int = 425  # io_uring_setup: the ring makes calls that no filter sees


_BY_MACHINE = {
    "x86_64": _Calls(
        0xC000003E,
        (90, 91, 92, 93, 94, 132, 188, 189, 190, 197, 198, 199, 235, 260, 261, 268, 280, 452, 463, 466, 469),
        41,
        (101, 311),
    ),
    "aarch64": _Calls(0xC00000B7, (5, 6, 7, 14, 15, 16, 52, 53, 54, 55, 88, 452, 463, 466, 469), 198, (117, 271)),
}


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


def filter_calls(*, files: bool) -> str | None:
    """Install the filter for this process and its children, for good. Needs "no new privileges" to be set.

    With `files` it does what mounts of one's own would do as well. Returns the wall's name for the report, None where
    the architecture isn't known or the kernel refuses.
    """
    calls = _BY_MACHINE.get(os.uname().machine)
    if calls is None:
        return None
    steps = _steps(calls, files=files)
    program = _Program(len(steps), (_Filter * len(steps))(*steps))
    done = ctypes.CDLL(None, use_errno=True).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    if done != 0:
        return None
    return "seccomp: sockets, modes and owners of files" if files else "seccomp: other processes"


def _steps(calls: _Calls, *, files: bool) -> list[_Filter]:
    steps = [
        _Filter(LOAD, 0, 0, ARCHITECTURE_OFFSET),
        _Filter(JUMP_IF_EQUAL, 1, 0, calls.architecture),
        _Filter(RETURN, 0, 0, RET_ERRNO | EPERM),
        _Filter(LOAD, 0, 0, NUMBER_OFFSET),
        _Filter(JUMP_IF_GREATER_OR_EQUAL, 0, 1, X32),
        _Filter(RETURN, 0, 0, RET_ERRNO | ENOSYS),
    ]
    answers = [(number, EPERM) for number in (*calls.foreign, calls.borrowed)]
    if files:
        answers += [(number, PRETEND) for number in calls.pretend]
        answers += [(calls.socket, EACCES), (calls.ring, ENOSYS)]
    for number, answer in answers:
        steps += [_Filter(JUMP_IF_EQUAL, 0, 1, number), _Filter(RETURN, 0, 0, RET_ERRNO | answer)]
    return [*steps, _Filter(RETURN, 0, 0, RET_ALLOW)]
