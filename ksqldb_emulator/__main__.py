"""`python -m ksqldb_emulator --port 8088 --data FILE`: serves a data set until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

try:
    import click

    from ksqldb_emulator.cluster import BadMinute
    from ksqldb_emulator.dataset import Dataset
    from ksqldb_emulator.options import Options
    from ksqldb_emulator.server import Server, serve, stop
except ModuleNotFoundError as error:
    if (error.name or "").startswith("ksqldb_emulator"):
        raise
    raise SystemExit(
        f"the package {error.name} is missing: python -m pip install -c requirements.lock '.[emulator]'"
    ) from None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8088, show_default=True, help="0 takes a free one.")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--user", default="", help="Ask for Basic authentication.")
@click.option("--password", default="", envvar="EMULATOR_PASSWORD")
@click.option("--starting-s", default=0.0, help="Answer 503 for so long.")
@click.option("--refuse-pulls-s", default=0.0, help="Then refuse table pulls for so long.")
@click.option("--rows-per-s", default=0.0, help="Speed of a push's scan; 0 is as fast as it can.")
@click.option("--nodes", default=1, show_default=True, help="Nodes of the cluster that queries run on.")
@click.option("--node-dies-after-s", type=float, help="Then let one of two or more die, with a minute of short pulls.")
@click.option("--faults", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON list of faults.")
def main(
    host: str,
    port: int,
    data: Path,
    user: str,
    password: str,
    starting_s: float,
    refuse_pulls_s: float,
    rows_per_s: float,
    nodes: int,
    node_dies_after_s: float | None,
    faults: Path | None,
) -> None:
    """Emulate a ksqlDB server's REST interface on the records in DATA."""
    server = Server(Dataset.load(data), Options(user=user, password=password, rows_per_s=rows_per_s))
    server.state.restart(starting_s, refuse_pulls_s)
    server.state.cluster.start_nodes(nodes)
    if node_dies_after_s is not None:
        if nodes < 2:
            raise click.UsageError("--node-dies-after-s needs --nodes 2 or more")
        server.state.cluster.kill_node(BadMinute(), in_s=node_dies_after_s)
    if faults is not None:
        server.faults.load(faults)
    asyncio.run(_run(server, host, port))


async def _run(server: Server, host: str, port: int) -> None:
    runner, port = await serve(server, host, port)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    click.echo(f"ksqlDB emulator: {len(server.state.sources)} sources at http://{host}:{port}")
    await stopping.wait()
    await stop(runner)


if __name__ == "__main__":
    main()
