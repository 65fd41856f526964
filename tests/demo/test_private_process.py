"""The ports that private servers get."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from demo.private_process import free_port


def test_no_connection_takes_a_servers_port_before_the_server_does() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert all(1024 <= free_port() < lowest for _ in range(200))


def test_processes_with_the_same_seed_get_different_ports() -> None:
    taken = []
    for _ in range(2):
        random.seed(1)
        taken.append([free_port() for _ in range(5)])

    assert taken[0] != taken[1]


def test_a_port_in_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        used, other = taken.getsockname()[1], free_port()
        numbers = iter((used, other))
        monkeypatch.setattr("demo.private_process._chance.randrange", lambda *_: next(numbers))

        assert free_port() == other
