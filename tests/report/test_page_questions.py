"""Ten questions that a manager asks, each answered by the page alone."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from pipeline.feeds import DimensionMapping, WarehouseMapping
from pipeline.lake.metadata import Totals
from pipeline.lake.runs import RunEntry
from pipeline.report.page.facts import FileFacts, WarehouseFacts
from pipeline.report.page.page import page_html
from pipeline.verify.versions import Differences
from pipeline.warehouse.ledger import SnapshotEntry
from tests.report.made_up_lakes import NOW, TODAY, page_of, stream_facts, table_facts
from tests.report.read_page import Page, read_page

HOUR = dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def page() -> Page:
    """A stream that is late, a table that is loaded into the warehouse, a failed night, an old proof."""
    days = [Totals(900, 90_000, 3), Totals(1200, 120_000, 4)]
    sales = stream_facts(
        "sales", days, TODAY - dt.timedelta(days=1), description="Each sale", retention_days=365, max_age_hours=6
    )
    sales = replace(sales, files=FileFacts((30_000,) * 7, "date=2026-11-28/a.parquet", (30_000,) * 7, 2))
    dimension = DimensionMapping(table="dim_shops", key="shop_id", columns={"shop_id": "shop"})
    mapping = WarehouseMapping(
        fact="fact_shops", keys=("shop_id",), columns={"shop_id": "shop", "total": "total"}, dimension=dimension
    )
    shops = table_facts("shops", [Totals(40, 4000, 1), Totals(42, 4200, 1)], warehouse=mapping, retention_versions=7)
    shops = replace(shops, change=Differences("shops", 1, 2, {"new": 3, "gone": 1, "changed": 5}, 34, ()))
    export, verify = "export_to_data_lake.py --all", "metadata_utils.py verify --source"
    proof = {"feeds": ["sales", "shops"], "findings": [], "errors": []}
    error = {"message": "ksqlDB is away", "hint": ""}
    runs = (
        RunEntry("2", export, NOW - 4 * HOUR, "failed", NOW, 75, 61.0, (error,), {"feeds": [{"rows": 0}]}),
        RunEntry("1", verify, NOW - 26 * HOUR, "ok", NOW, 0, 12.0, (), proof),
    )
    taken = NOW - 30 * HOUR
    snapshots = (SnapshotEntry(5, taken, taken, "lake", "complete", 42, 1, ("fact_shops",)),)
    facts = page_of(sales, shops, runs=runs, warehouse=WarehouseFacts(snapshots))
    return read_page(page_html(facts, "en").replace("\u00a0", " "))


def cells(page: Page, table: str, row: str) -> list[str]:
    (found,) = [line for line in page.tables[table][1:] if line[0].text.startswith(row)]
    return [cell.text for cell in found]


def test_is_anything_wrong_now(page: Page) -> None:
    assert "2 things to look at" in page.text
    assert "export_to_data_lake.py --all: failed. ksqlDB is away" in page.text


def test_how_much_do_we_have(page: Page) -> None:
    assert (page.tiles["rows"].text, page.tiles["bytes"].text) == (
        "Rows2,182events, and rows of every kept version", "Size218.2 kB9 files",
    )  # fmt: skip


def test_what_do_we_have_and_how_long_is_it_kept(page: Page) -> None:
    sales = cells(page, "Feeds, with rows and size", "sales")
    assert (sales[0], sales[1], sales[5]) == ("salesEach sale", "stream", "365 days")


def test_how_much_came_on_a_day(page: Page) -> None:
    assert cells(page, "Days of sales", "28 Nov 2026") == ["28 Nov 2026", "1,200", "120.0 kB"]


def test_how_old_is_what_we_see_and_may_it_be_so_old(page: Page) -> None:
    sales = cells(page, "Freshness of each feed", "sales")
    assert sales[1:4] == ["28 Nov 2026, 12:00 UTC", "18 h ago", "6 h"]


def test_what_changed_in_a_table_since_its_last_version(page: Page) -> None:
    assert "From version 1 to version 2:3 new rows1 row gone5 rows changed34 rows unchanged" in page.text
    assert cells(page, "Versions of shops", "2")[3] == "+2"


def test_did_last_night_go_well(page: Page) -> None:
    assert cells(page, "Last runs of commands", "29 Nov 2026, 02:30 UTC")[1:] == [
        "export_to_data_lake.py --allksqlDB is away", "failed", "1 min 1 s", "0",
    ]  # fmt: skip


def test_is_it_proved_that_nothing_is_lost(page: Page) -> None:
    source = cells(page, "Last checks", "Lake with ksqlDB or Kafka")
    assert source[1:] == ["28 Nov 2026, 04:30 UTC (1 d ago)", "2", "no problem"]
    assert cells(page, "Last checks", "Warehouse with lake")[1] == "never"


def test_does_the_warehouse_show_the_newest_data_and_was_a_row_rejected(page: Page) -> None:
    assert "The current_* views show snapshot 5, which has the newest data." in page.text
    assert cells(page, "List of snapshots", "5")[3:] == ["42", "1", "fact_shops "]


def test_where_does_a_table_of_the_warehouse_come_from_and_what_would_compaction_gain(page: Page) -> None:
    assert cells(page, "Facts and their dimensions", "fact_shops")[1:] == [
        "shop_id, snapshot_version", "dim_shops", "shops",
    ]  # fmt: skip
    assert "ksqlDB tableSHOPSmade of topic_aFolder of the laketables/shops/" in page.text
    assert cells(page, "Files of each feed", "sales")[6] == "7 files (210.0 kB) would become 2 files"
