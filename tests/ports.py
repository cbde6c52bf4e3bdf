"""Loopback ports that several test processes can share out without meeting."""

from __future__ import annotations

import random
import socket

from .binaries import ServerMissing

HOST = "127.0.0.1"

_reserved: dict[int, socket.socket] = {}


def reserve_port() -> int:
    """Choose a port that stays ours while its server is down.

    It lies below the range the kernel gives to outgoing connections, and so does the port 10,000
    above it, which a Redis Cluster node takes as well. The UDP port of the same number, which no
    server uses, is held as a sign to the test processes beside this one.
    """
    for _ in range(1000):
        port = random.randint(11_000, 22_000)
        sign = _bound(socket.SOCK_DGRAM, port)
        if sign and _is_free(port) and _is_free(port + 10_000):
            _reserved[port] = sign
            return port
        if sign:
            sign.close()
    raise ServerMissing("no free loopback port")


def free_port(port: int) -> None:
    """Give a reserved port back."""
    if port in _reserved:
        _reserved.pop(port).close()


def _is_free(port: int) -> bool:
    probe = _bound(socket.SOCK_STREAM, port)
    if probe:
        probe.close()
    return probe is not None


def _bound(kind: socket.SocketKind, port: int) -> socket.socket | None:
    sock = socket.socket(type=kind)
    if kind is socket.SOCK_STREAM:  # connections in TIME_WAIT are no obstacle
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        return None
    return sock
