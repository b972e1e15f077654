"""The user's files on disk: finding them, reading them, and writing them so that nothing is ever lost.

All disk access to files gradfix checks or changes is here, and nothing here knows what is in them.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from gradfix.errors import FileChanged, FileProblem
from gradfix.project.config import DEFAULT_EXCLUDE, DEFAULT_INCLUDE
from gradfix.project.ignores import Ignores
from gradfix.source import Source


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file was when it was read. Equal digests mean equal bytes; the rest tells early that it has changed."""

    mtime_ns: int
    size: int
    inode: int
    digest: str  # BLAKE2b of the bytes, 16 bytes in hexadecimal


def read(path: Path | str) -> tuple[Source, Stamp]:
    """The file as a source, and its stamp for `write`.

    Raises `FileProblem`, also for pipes, folders, devices and notebooks: their JSON may well parse as Python.
    """
    if str(path).endswith(".ipynb"):
        raise FileProblem(str(path), f"a notebook: export its code (`jupyter nbconvert --to script {Path(path).name}`)")
    try:
        before = os.stat(path)
        if not stat.S_ISREG(before.st_mode):
            raise FileProblem(str(path), _kind(before.st_mode))
        with open(path, "rb") as file:
            data, now = file.read(), os.fstat(file.fileno())
    except OSError as error:
        raise FileProblem(str(path), _reason(error)) from None
    return Source.from_bytes(str(path), data), _stamp(data, now)


def write(path: Path | str, data: bytes, stamp: Stamp) -> Stamp:
    """Put `data` in place of the file that was read with `stamp`; the stamp of the new file.

    At every moment the path holds the old bytes or the new ones in full: `data` goes to a temporary file in the same
    folder, to the disk, and then takes the old file's name. Mode, extended attributes and, where allowed, owner and
    group are kept. A symbolic link stays and its target is written. Other hard links of the file keep the old bytes.

    Raises `FileChanged` when the bytes on disk aren't those that were read; `FileProblem` when the file can't be
    written or isn't a regular one. In both cases it is left as it was, and no temporary file remains (only a
    process killed outright leaves one, `.gradfix-….tmp`).
    """
    named = str(path)
    try:
        target = os.path.realpath(path, strict=True)
        old = os.stat(target)
        if not stat.S_ISREG(old.st_mode):
            raise FileProblem(named, _kind(old.st_mode))
        if not old.st_mode & 0o222 or not os.access(target, os.W_OK):
            raise FileProblem(named, "read-only")
        return _replace(named, target, data, old, stamp)
    except OSError as error:
        raise FileProblem(named, f"can't be written: {_reason(error)}") from None


def discover(
    paths: Iterable[Path | str],
    *,
    root: Path | None = None,
    exclude: Sequence[str] = DEFAULT_EXCLUDE,
    extend_exclude: Sequence[str] = (),
    include: Sequence[str] = DEFAULT_INCLUDE,
    respect_gitignore: bool = True,
    force_exclude: bool = False,
) -> Iterator[Path | FileProblem]:
    """The files that `paths` stand for, each once, folders in the order of the names; problems come in their place.

    A file that is named is taken whatever the patterns say, unless `force_exclude`; a folder that is named is walked
    even when patterns match it or what it lies in. In a folder, `include` picks the files, and what `exclude`,
    `extend_exclude` or git's ignore files match is left out. Patterns are written as in `.gitignore`, relative to
    `root` (default: the current folder), or to the folder named when that lies outside. Of git, each `.gitignore` up to
    the root of the repository and `.git/info/exclude` count; outside a repository those in the folders walked.

    Links are followed last, so that what can be reached without is found under its own name; nothing is taken twice,
    and links to nothing are passed over.
    """
    base = _slashed(root or ".") + "/"
    excluded = _Rules(base, Ignores.of([*exclude, *extend_exclude]))
    search = _Search(excluded, _Rules(base, Ignores.of(include)), respect_gitignore, force_exclude)
    for path in paths:
        yield from search.named(Path(path))
    yield from search.linked()


def _replace(named: str, target: str, data: bytes, old: os.stat_result, stamp: Stamp) -> Stamp:
    temporary = os.path.join(os.path.dirname(target), f".gradfix-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            _keep_attributes(target, temporary, old)
            os.fsync(file.fileno())
        with open(target, "rb") as file:
            if _digest(file.read()) != stamp.digest:
                raise FileChanged(named, "changed by somebody else since it was read")
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return _stamp(data, os.stat(target))


def _keep_attributes(target: str, temporary: str, old: os.stat_result) -> None:
    if hasattr(os, "chown"):
        with suppress(OSError):  # a group of one's own may be given, another owner only by root
            os.chown(temporary, -1, old.st_gid)
        with suppress(OSError):
            os.chown(temporary, old.st_uid, -1)
    if hasattr(os, "listxattr"):
        with suppress(OSError):  # not every file system has them
            for name in os.listxattr(target):
                os.setxattr(temporary, name, os.getxattr(target, name))
    os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _stamp(data: bytes, status: os.stat_result) -> Stamp:
    return Stamp(status.st_mtime_ns, status.st_size, status.st_ino, _digest(data))


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


def _kind(mode: int) -> str:
    return "a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file"


@dataclass(frozen=True, slots=True)
class _Rules:
    """Patterns and the folder they are relative to. Paths are absolute, with `/`, without one at the end."""

    base: str  # with `/` at the end
    ignores: Ignores

    def says(self, path: str, *, is_folder: bool) -> bool | None:
        """What the patterns say of `path`; nothing when it lies outside their folder."""
        return self.ignores.says(path[len(self.base) :], folder=is_folder) if path.startswith(self.base) else None

    def reaching(self, folder: str) -> _Rules:
        """The same, relative to `folder` when that lies outside."""
        return self if f"{folder}/".startswith(self.base) else _Rules(f"{folder}/", self.ignores)

    def beneath(self, folder: str) -> _Rules:
        """The same without the patterns that match `folder` or what it lies in."""
        inside = folder.startswith(self.base)
        return _Rules(self.base, self.ignores.beneath(folder[len(self.base) :])) if inside else self


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str  # under the name the user gave
    real: str  # without links
    absolute: str  # with links: what patterns are about
    included: _Rules
    excluded: _Rules
    git: tuple[_Rules, ...]  # from the root of the repository inwards; the last that says something counts

    def takes(self, name: str, *, is_folder: bool) -> bool:
        path = f"{self.absolute}/{name}"
        if not is_folder and not self.included.says(path, is_folder=False):
            return False
        return not _left_out(path, self.excluded, self.git, is_folder=is_folder)

    def below(self, name: str, *, is_link: bool) -> _Folder:
        path = os.path.join(self.path, name)
        real = os.path.realpath(path) if is_link else os.path.join(self.real, name)
        return replace(self, path=path, real=real, absolute=f"{self.absolute}/{name}")


class _Search:
    """One run of `discover`: what was reached already, and the links to follow in the end."""

    def __init__(self, excluded: _Rules, included: _Rules, respect_gitignore: bool, force_exclude: bool) -> None:
        self.excluded = excluded
        self.included = included
        self.respect_gitignore = respect_gitignore
        self.force_exclude = force_exclude
        self.reached: set[str] = set()  # real paths
        self.links: deque[tuple[_Folder, str]] = deque()  # where a link stands, and its name
        self.git_in: dict[str, tuple[_Rules, ...]] = {}  # by folder

    def named(self, path: Path) -> Iterator[Path | FileProblem]:
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
            absolute, real = _slashed(path), os.path.realpath(path)
            git = self._git_above(absolute) if is_folder or self.force_exclude else ()
        except OSError as error:
            yield FileProblem(str(path), _reason(error))
            return
        except FileProblem as problem:
            yield problem
            return
        if self.force_exclude and _lies_in_what_is_left_out(absolute, self.excluded, git, is_folder=is_folder):
            return
        if is_folder:
            git = tuple(rules.beneath(absolute) for rules in git)
            included, excluded = self.included.reaching(absolute), self.excluded.reaching(absolute).beneath(absolute)
            yield from self._walk(_Folder(str(path), real, absolute, included, excluded, git))
        else:
            yield from self._once(str(path), real)

    def linked(self) -> Iterator[Path | FileProblem]:
        while self.links:
            folder, name = self.links.popleft()
            below = folder.below(name, is_link=True)
            if os.path.isdir(below.real):
                yield from self._walk(below)
            elif os.path.isfile(below.real):
                yield from self._once(below.path, below.real)

    def _walk(self, top: _Folder) -> Iterator[Path | FileProblem]:
        stack: list[_Folder | Path | FileProblem] = [top]
        while stack:
            item = stack.pop()
            if isinstance(item, _Folder):
                stack.extend(reversed([*self._content(item)]))
            else:
                yield item

    def _content(self, folder: _Folder) -> Iterator[_Folder | Path | FileProblem]:
        """What is to be found in a folder, in the order of the names, links left for the end."""
        if folder.real in self.reached:
            return
        self.reached.add(folder.real)
        try:
            with os.scandir(folder.path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            if self.respect_gitignore:
                names = {entry.name for entry in entries}
                folder = replace(folder, git=_git_inside(folder.absolute, folder.git, names))
        except OSError as error:
            yield FileProblem(folder.path, _reason(error))
            return
        except FileProblem as problem:
            yield problem
            return
        for entry in entries:
            is_folder = _is_folder(entry)
            if not folder.takes(entry.name, is_folder=is_folder):
                continue
            if entry.is_symlink():
                self.links.append((folder, entry.name))
            elif is_folder:
                yield folder.below(entry.name, is_link=os.name == "nt")  # a junction of Windows isn't called a link
            elif entry.is_file():
                yield from self._once(entry.path, os.path.join(folder.real, entry.name))

    def _once(self, path: str, real: str) -> Iterator[Path]:
        if real not in self.reached:
            self.reached.add(real)
            yield Path(path)

    def _git_above(self, path: str) -> tuple[_Rules, ...]:
        """Git's rules for what stands beside `path`, from the root of the repository inwards."""
        folder = path.rpartition("/")[0]
        if self.respect_gitignore and folder not in self.git_in:
            self.git_in[folder] = _git_down_to(folder)
        return self.git_in.get(folder, ())


def _git_down_to(folder: str) -> tuple[_Rules, ...]:
    inner: list[str] = []
    while not os.path.lexists(f"{folder}/.git"):
        if "/" not in folder:
            return ()
        inner.append(folder)
        folder = folder.rpartition("/")[0]
    rules = _git_inside(folder, (), (".git", ".gitignore"))
    for below in reversed(inner):
        rules = _git_inside(below, rules, (".gitignore",))
    return rules


def _git_inside(folder: str, outer: tuple[_Rules, ...], names: Container[str]) -> tuple[_Rules, ...]:
    """Git's rules in `folder`, which holds `names`; in a repository of its own those from outside mean nothing."""
    rules = _ignore_file(folder, ".git/info/exclude") if ".git" in names else outer
    return rules + _ignore_file(folder, ".gitignore") if ".gitignore" in names else rules


def _ignore_file(folder: str, name: str) -> tuple[_Rules, ...]:
    try:
        text = Path(f"{folder}/{name}").read_text("utf-8-sig", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ()
    except OSError as error:
        raise FileProblem(f"{folder}/{name}", _reason(error)) from None
    return (_Rules(f"{folder}/", Ignores.of(text.split("\n"))),)


def _left_out(path: str, excluded: _Rules, git: Sequence[_Rules], *, is_folder: bool) -> bool:
    if excluded.says(path, is_folder=is_folder):
        return True
    said = (rules.says(path, is_folder=is_folder) for rules in reversed(git))
    return next((answer for answer in said if answer is not None), False)


def _lies_in_what_is_left_out(path: str, excluded: _Rules, git: Sequence[_Rules], *, is_folder: bool) -> bool:
    parts = path.split("/")
    outer = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return any(_left_out(folder, excluded, git, is_folder=True) for folder in outer) or _left_out(
        path, excluded, git, is_folder=is_folder
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle, among others
        return False


def _slashed(path: Path | str) -> str:
    return os.path.abspath(path).replace(os.sep, "/").rstrip("/")
