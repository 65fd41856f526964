"""The lake's feeds as Dagster assets: each is materialized when the export has committed it, whatever others do.

Annotations stay objects here: Dagster looks at them.
"""

import json
import subprocess

import dagster as dg

FOLDER = "/opt/ksqldb-lake"
PYTHON = f"{FOLDER}/venv/bin/python"


def feeds() -> list[str]:
    """The names of the enabled feeds."""
    done = subprocess.run([PYTHON, "manage_feeds.py", "list", "--json"], cwd=FOLDER, capture_output=True, check=True)
    return [feed["name"] for feed in json.loads(done.stdout)["feeds"] if feed["enabled"]]


@dg.multi_asset(
    specs=[dg.AssetSpec(name, skippable=True) for name in feeds()],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=900),
)
def data_lake(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient):
    command = [PYTHON, f"{FOLDER}/samples/dagster_export.py"]
    ran = pipes.run(command=command, context=context, cwd=FOLDER)
    yield from ran.get_results(implicit_materializations=False)
    (code,) = ran.get_custom_messages()
    if code:  # 75: nothing was lost, it is tried again; 1 and 2 need a person
        raise dg.Failure(f"the night ended with exit code {code}", allow_retries=code == 75)


defs = dg.Definitions(
    assets=[data_lake],
    resources={"pipes": dg.PipesSubprocessClient()},
    schedules=[
        dg.ScheduleDefinition(name="night", target=dg.AssetSelection.assets(data_lake), cron_schedule="15 2 * * *")
    ],
)
