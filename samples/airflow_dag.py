"""The lake's night as an Airflow DAG; copy it to the DAGs' folder of a worker that has the scripts in FOLDER."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pendulum
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

FOLDER = "/opt/ksqldb-lake"


@task(retries=3, retry_delay=timedelta(minutes=15))
def run(*words: str) -> None:
    """Runs a script. Exit code 75 may be repaired by a retry; 1 and 2 need a person."""
    code = subprocess.run([f"{FOLDER}/venv/bin/python", *words], cwd=FOLDER, check=False).returncode
    if code in (1, 2):
        raise AirflowFailException(f"{words[0]} ended with {code}: a person must act, see the log")
    if code:
        raise RuntimeError(f"{words[0]} ended with {code}: nothing was lost, it is tried again")


@dag(
    dag_id="ksqldb_lake",
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
)
def ksqldb_lake() -> None:
    night = run.override(task_id="night")("export_to_data_lake.py", "--all", "--then-sync", "--then-verify")
    health = run.override(task_id="health", trigger_rule="all_done", retries=0)("metadata_utils.py", "health")
    night >> health


ksqldb_lake()
