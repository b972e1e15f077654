"""The walls of a guarded run: namespaces, read-only mounts, Landlock. Put up before torch is imported.

Linux only, through `ctypes`: nothing needs to be installed. Each wall that the kernel refuses is left out and not
named; `stand` is true only when the file wall stands, by Landlock or by read-only mounts.
Numbers are those of the kernel's public headers (`linux/landlock.h`, `linux/sched.h`, `linux/mount.h`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from dataclasses import dataclass, field
from types import TracebackType

from gradfix.backward.worker.seccomp import filter_calls

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
MOUNT_ATTR_RDONLY, AT_RECURSIVE, AT_FDCWD = 0x1, 0x8000, -100
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
SIGKILL = 9
MOST_TASKS = 512  # processes and threads in the own pid namespace; the kernel asks for more than 300

SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF, SYS_MOUNT_SETATTR = 444, 445, 446, 442
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH = 1, 1
FS_WRITE_FILE, FS_TRUNCATE, FS_IOCTL_DEV = 1 << 1, 1 << 14, 1 << 15
FS_WRITES_BY_ABI = {  # every right that changes something; reading and executing stay free
    1: FS_WRITE_FILE | sum(1 << bit for bit in range(4, 13)),  # remove and make, of every kind
    2: 1 << 13,  # link or rename to another directory
    3: FS_TRUNCATE,
    5: FS_IOCTL_DEV,
}
NET_BIND_TCP, NET_CONNECT_TCP = 1, 2  # ABI 4
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1, 2  # ABI 6

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Walls:
    """Which walls stand, in the words of the report."""

    names: list[str] = field(default_factory=list)
    files: bool = False  # nothing outside the scratch directory can be written
    own_pids: bool = False  # this process is process 1: all it leaves behind dies with it


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _prctl(option: int, value: int) -> bool:
    return bool(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)


def die_with_parent() -> None:
    """SIGKILL for this process when its parent dies; lost by a change of credentials, so call it after that."""
    _prctl(PR_SET_PDEATHSIG, SIGKILL)


def adopt_orphans() -> bool:
    """Make this process the parent of every descendant whose own parent dies."""
    return _prctl(PR_SET_CHILD_SUBREAPER, 1)


def unshare() -> tuple[str, ...]:
    """Leave the user, pid, net, ipc and mount namespaces; the next child is process 1 of its own.

    Returns the namespaces that were left, () where the kernel forbids it. A host may allow them without mounts.
    """
    uid, gid = os.getuid(), os.getgid()
    base = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
    for flags, names in (
        (base | CLONE_NEWNS, ("user", "pid", "net", "ipc", "mount")),
        (base, ("user", "pid", "net", "ipc")),
        ((base | CLONE_NEWNS) & ~CLONE_NEWUSER, ("pid", "net", "ipc", "mount")),
    ):
        if _libc.unshare(flags) == 0:
            if "user" in names:
                _write("/proc/self/setgroups", "deny")
                _write("/proc/self/uid_map", f"{uid} {uid} 1")
                _write("/proc/self/gid_map", f"{gid} {gid} 1")
            return names
    return ()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as handle:
        handle.write(text)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> bool:
    encoded = [None if part is None else os.fsencode(part) for part in (source, target, kind)]
    return bool(_libc.mount(*encoded, ctypes.c_ulong(flags), None if options is None else options.encode()) == 0)


def _set_read_only(path: str, *, recursive: bool, on: bool) -> bool:
    attr = _MountAttr(MOUNT_ATTR_RDONLY if on else 0, 0 if on else MOUNT_ATTR_RDONLY, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    done = _libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), flags, ctypes.byref(attr), ctypes.sizeof(attr))
    return bool(done == 0)


def named_sockets() -> tuple[str, ...]:
    """Paths of the Unix sockets in use on this host: no other wall keeps a program from talking to them."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as handle:
            paths = {line.rstrip("\n").split(maxsplit=7)[-1] for line in handle}
    except OSError:
        return ()
    return tuple(path for path in sorted(paths) if path.startswith("/") and os.path.exists(path))[:1000]


def mount_read_only(scratch: str, size: int, sockets: tuple[str, ...]) -> bool:
    """Own `/proc`, a bounded scratch and `/dev/shm` in memory, everything else read-only. True when that stands.

    The given Unix sockets are covered by the null device.
    """
    if not _mount("none", "/", None, MS_REC | MS_PRIVATE, None):
        return False
    options = f"size={size},nr_inodes=20000"
    own = [scratch] if _mount("tmpfs", scratch, "tmpfs", MS_NOSUID | MS_NODEV, options + ",mode=700") else []
    if os.path.isdir("/dev/shm") and _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, options):
        own.append("/dev/shm")
    for path in sockets:
        _mount("/dev/null", path, None, MS_BIND, None)
    if _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None):
        with contextlib.suppress(OSError):  # before Linux 6.14 the number isn't the namespace's own
            _write("/proc/sys/kernel/pid_max", str(MOST_TASKS))
    if scratch not in own or not _set_read_only("/", recursive=True, on=True):
        return False
    opened = [_set_read_only(path, recursive=False, on=False) for path in own]
    return all(opened)


def drop_capabilities() -> None:
    """Give up what the own user namespace granted, mounting above all."""
    header = _CapHeader(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    _libc.capset(ctypes.byref(header), (ctypes.c_uint32 * 6)())


class _Fd:
    """An open descriptor for the length of a `with`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def landlock(writable: tuple[str, ...]) -> str | None:
    """Confine this process and all its children for good: writes only below `writable` and to the null device.

    Returns the wall's name for the report, None where the kernel has no Landlock.
    """
    abi = _libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if abi < 1:
        return None
    files = sum(bits for since, bits in FS_WRITES_BY_ABI.items() if since <= abi)
    ruleset = _RulesetAttr(files, NET_BIND_TCP | NET_CONNECT_TCP, SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    fd = _libc.syscall(SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    if fd < 0:
        return None
    with _Fd(fd):
        for path in (*writable, "/dev/null", "/dev/zero", "/dev/full"):
            if os.path.exists(path):
                _allow(fd, path, files)
        if not _prctl(PR_SET_NO_NEW_PRIVS, 1) or _libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, fd, 0) != 0:
            return None
    return "landlock: files" + (", tcp" if abi >= 4 else "") + (", signals" if abi >= 6 else "")


def _allow(ruleset: int, path: str, rights: int) -> None:
    if not stat.S_ISDIR(os.stat(path).st_mode):
        rights &= FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV
    with _Fd(os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)) as parent:
        rule = _PathBeneath(rights, parent)
        _libc.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0)


def enclose(
    scratch: str, size: int, left: tuple[str, ...], sockets: tuple[str, ...], without: tuple[str, ...]
) -> Walls:
    """Put up every wall that can stand around this process, which the namespaces in `left` already surround."""
    walls = Walls()
    own_mounts = "mount" in left and "mount" not in without and mount_read_only(scratch, size, sockets)
    if left:
        walls.own_pids = "pid" in left
        walls.names.append("namespaces: " + ", ".join(left))
    drop_capabilities()
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if own_mounts:
        walls.names.append("read-only mounts")
        walls.files = True
    if "landlock" not in without:
        name = landlock((scratch, "/dev/shm") if own_mounts else (scratch,))
        if name:
            walls.names.insert(0, name)
            walls.files = True
    name = filter_calls(files=not own_mounts)
    if name:
        walls.names.append(name)
    return walls
