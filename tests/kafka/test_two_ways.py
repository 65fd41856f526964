"""`make demo-kafka`: one stream by REST and from Kafka by turns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.two_ways import tell_the_story


def test_the_demo_adds_each_transaction_once(kafka: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tell_the_story(kafka, tmp_path / "lake", 100)

    said = capfd.readouterr().out
    # One record of the hundred cannot be read, one has no value.
    assert re.findall(r"exported, (\d+) rows", said) == ["88", "0", "10", "0"]
    assert "transaction_stream: ok; " in said
    assert "\n  98 rows as on the server" in said
    assert max(map(len, said.splitlines())) <= 80
