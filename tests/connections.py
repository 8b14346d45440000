"""Cutting a connection of another process, as a peer or a network that is gone does."""

import ctypes
import os
import socket

import psutil

_PIDFD_GETFD = 438


def cut(pid: int, ports: set[int]) -> int:
    """Ends a process's connections to remote ports; returns how many there were."""
    connections = psutil.Process(pid).net_connections("tcp")
    cut = [c for c in connections if c.raddr and c.raddr.port in ports]
    for connection in cut:
        with _taken(pid, connection.fd) as taken:
            taken.shutdown(socket.SHUT_RDWR)
    return len(cut)


def _taken(pid: int, descriptor: int) -> socket.socket:
    """A socket of another process, which the two then share."""
    process = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        number = libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
        if number < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return socket.socket(fileno=number)
    finally:
        os.close(process)
