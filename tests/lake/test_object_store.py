"""The lake on an object store: what a commit is when answers are lost, who holds a feed, and which stores will do."""

from __future__ import annotations

import importlib.util
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from pipeline.errors import (
    CommitFailed,
    CommitUnknown,
    LakeNotWritable,
    SettingsInvalid,
    StoreNotSafe,
    StoreRefused,
    StoreUnreachable,
)
from pipeline.lake import bucket, lease, object_files, object_store
from pipeline.lake.access import StoreAccess
from pipeline.lake.files import parquet_files
from pipeline.lake.lake import Lake
from pipeline.lake.log import entry_name
from pipeline.lake.runs import RunLedger
from pipeline.lake.stores import open_store
from pipeline.readiness import check_puts
from pipeline.verify.files import check_files
from tests.lake.bucket_lakes import STREAM, lake_of, store_of
from tests.lake.small_tables import NOW, add_rows, values
from tests.lying_store import DONE, NOT_DONE, Fault, LyingStore, Once, lying_store
from tests.private_seaweedfs import PrivateSeaweedfs

pytestmark = pytest.mark.server


class TestCommit:
    @pytest.mark.parametrize("fault", [*DONE, *NOT_DONE, "late"])
    def test_one_wrong_answer_changes_nothing(
        self, fault: Fault, root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, true_lake: Lake
    ) -> None:
        with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
            proxy.decide = Once(fault, entry_name(2))

            add_rows(table, 2, [(0, 0, 1, "b")])
            add_rows(table, 3, [(0, 0, 2, "c")])

        assert proxy.counted[fault] == 1
        assert values(true_lake.table(STREAM)) == ["a", "b", "c"]
        assert true_lake.table(STREAM).delta_version == 3

    @pytest.mark.parametrize("fault", ["409", "412", "503", "request lost", "late"])
    def test_an_entry_of_another_run_is_never_taken_for_ours(
        self, fault: Fault, root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, true_lake: Lake
    ) -> None:
        with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
            add_rows(true_lake.table(STREAM), 2, [(0, 0, 1, "first")])
            proxy.decide = Once(fault, entry_name(2))

            with pytest.raises(CommitFailed, match="another program has committed version 2"):
                add_rows(table, 3, [(0, 0, 1, "second")])

        assert values(true_lake.table(STREAM)) == ["a", "first"]

    def test_a_store_that_goes_on_losing_answers_leaves_it_open(
        self,
        root: str,
        seaweedfs: PrivateSeaweedfs,
        proxy: LyingStore,
        true_lake: Lake,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(object_store, "_PAUSES_S", (0.0, 0.0))
        with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
            proxy.decide = Once("late", entry_name(2), times=9)
            with pytest.raises(CommitUnknown, match=r"whether .*2\.json was committed is not known"):
                add_rows(table, 2, [(0, 0, 1, "b")])
            proxy.wait_for_late()

        assert values(true_lake.table(STREAM)) == ["a", "b"]

    def test_an_entry_that_arrives_after_the_next_run_has_begun_names_files_that_are_still_there(
        self,
        root: str,
        seaweedfs: PrivateSeaweedfs,
        proxy: LyingStore,
        true_lake: Lake,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(object_store, "_PAUSES_S", (0.0, 0.0))
        proxy.late_s = 600
        with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
            proxy.decide = Once("late", entry_name(2), times=9)
            with pytest.raises(CommitUnknown):
                add_rows(table, 2, [(0, 0, 1, "b")])

        with true_lake.writing(STREAM, {}) as table:
            proxy.wait_for_late()
            with pytest.raises(CommitFailed):
                add_rows(table, 3, [(0, 0, 1, "b")])

        with true_lake.writing(STREAM, {}) as table:
            assert values(table) == ["a", "b"]
            assert check_files(table).findings == ()
            assert len(list(parquet_files(table.store))) == 2

    def test_a_run_that_lost_its_lease_after_an_answer_was_lost_does_not_say_that_nothing_was_committed(
        self, root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, true_lake: Lake
    ) -> None:
        with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])

            def decide(method: str, path: str) -> Fault:
                if method == "PUT" and path.endswith(entry_name(2)):
                    store_of(true_lake).delete("_lock.json")
                    return "late"
                return ""

            proxy.decide = decide
            with pytest.raises(CommitUnknown):
                add_rows(table, 2, [(0, 0, 1, "b")])

    def test_a_commit_that_was_never_sent_is_not_called_unknown(
        self, root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(object_store, "_PAUSES_S", (0.0, 0.0))
        monkeypatch.setattr(bucket, "_RETRIES", {"max_retries": 0})
        with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
            proxy.decide = lambda method, path: "503" if method == "GET" and path.endswith("_lock.json") else ""
            with pytest.raises(StoreUnreachable) as raised:
                add_rows(table, 2, [(0, 0, 1, "b")])

        assert (raised.type, raised.value.exit_code) == (StoreUnreachable, 75)

    def test_a_commit_that_the_store_refuses_is_not_sent_again(
        self, root: str, seaweedfs: PrivateSeaweedfs, true_lake: Lake
    ) -> None:
        add_rows(true_lake.table(STREAM), 1, [(0, 0, 0, "a")])
        stranger = StoreAccess(endpoint=seaweedfs.url, key_id="nobody", secret="nothing")

        with pytest.raises(StoreRefused, match=r"the object store refuses s3://lakes/.*: 403 ") as raised:
            lake_of(root, stranger).table(STREAM)

        assert (raised.value.exit_code, "test_setup.py" in raised.value.hint) == (1, True)


class TestStores:
    def test_a_store_that_ignores_conditions_is_refused_before_anything_is_written(
        self, root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "_PROVED", set())
        proxy.decide = lambda method, _: "never refused" if method == "PUT" else ""
        lake = lake_of(root, proxy.access(seaweedfs.access))

        (check,) = check_puts(lake, "probe")
        assert (check.state, check.detail.split(":")[0]) == ("failed", "the store of s3")
        with pytest.raises(StoreNotSafe), lake.writing(STREAM, {}):
            pass

        assert store_of(lake).names() == ["_lock.json"]

    def test_a_store_that_keeps_conditions_is_found_so_and_nothing_is_left(self, true_lake: Lake) -> None:
        assert [check.state for check in check_puts(true_lake, "probe")] == ["ok"]

        assert not true_lake.feeds.is_there()

    def test_a_certificate_is_trusted_when_its_ca_is_named(
        self, root: str, seaweedfs: PrivateSeaweedfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket, "_RETRIES", {"max_retries": 0})
        ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        with lying_store(seaweedfs.url, context) as proxy:
            access = proxy.access(seaweedfs.access)
            with pytest.raises(StoreRefused, match=r"certificate of the store .* is not trusted") as raised:
                open_store(root, access).names()
            assert "LAKE_STORE_CA_FILE" in raised.value.hint

            store = open_store(root, replace(access, ca_file=str(tmp_path / "ca.pem")))
            store.replace("x", b"there")
            assert store.read("x") == b"there"

    def test_a_store_that_does_not_answer_is_asked_again_later(
        self, root: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket, "_RETRIES", {"max_retries": 0})
        nowhere = StoreAccess(endpoint="http://127.0.0.1:9", key_id="k", secret="s")

        with pytest.raises(StoreUnreachable, match="does not answer") as raised:
            lake_of(root, nowhere).table(STREAM)

        assert raised.value.exit_code == 75

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("s3://", "names no bucket"),
            ("s3:///prefix", "names no bucket"),
            ("gs://Bucket/prefix", "names no bucket"),
            ("az://lake/a*b", r"cannot read a prefix|read a prefix 'a\*b'"),
            ("s3://lake/a//b", "read a prefix"),
            ("s3://lake/../b", "read a prefix"),
        ],
    )
    def test_a_root_that_is_no_place_is_refused(self, url: str, message: str) -> None:
        with pytest.raises(SettingsInvalid, match=message):
            open_store(url, StoreAccess())

    @pytest.mark.parametrize(
        ("access", "message"),
        [({"ca_file": "/nonexistent.pem"}, "LAKE_STORE_CA_FILE: /nonexistent.pem: No such file")],
    )
    def test_a_setting_that_cannot_be_used_is_named(self, access: dict[str, Any], message: str) -> None:
        with pytest.raises(SettingsInvalid, match=message):
            open_store("s3://lake", StoreAccess(**access))

    def test_without_the_package_its_name_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        monkeypatch.setattr("pipeline.lake.stores.find_spec", lambda _: None)

        with pytest.raises(SettingsInvalid, match="the package obstore is not installed") as raised:
            open_store("s3://lake/x", StoreAccess())

        assert "object-store" in raised.value.hint

    def test_files_are_not_staged_where_other_users_can_change_them(
        self, root: str, seaweedfs: PrivateSeaweedfs, tmp_path: Path
    ) -> None:
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        access = StoreAccess(endpoint=seaweedfs.url, key_id="k", secret="s", staging_dir=str(shared))

        with pytest.raises(LakeNotWritable, match="other users own it, or can change"):
            open_store(root, access).staging("x")
        (tmp_path / "file").touch()
        with pytest.raises(LakeNotWritable, match="Not a directory"):
            open_store(root, replace(access, staging_dir=str(tmp_path / "file" / "below"))).staging("x")

    def test_a_large_file_is_uploaded_in_parts_and_read_in_pieces(
        self, proxy: LyingStore, root: str, seaweedfs: PrivateSeaweedfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket, "MULTIPART_BYTES", 2**20)
        monkeypatch.setattr(bucket, "_PART_BYTES", 5 * 2**20)
        monkeypatch.setattr(object_store, "_READ_WHOLE_BYTES", 2**20)
        monkeypatch.setattr(object_files, "_READ_AHEAD_BYTES", 2**16)
        data = bytes(range(256)) * 4096 * 12
        (tmp_path / "large").write_bytes(data)
        store = open_store(root, proxy.access(seaweedfs.access))

        store.take_in({"large": tmp_path / "large"})

        assert proxy.counted["POST"] == 2  # the upload begins and ends
        assert not (tmp_path / "large").exists()
        with store.open_parquet("large") as opened:
            assert opened.size() == len(data)
            opened.seek(len(data) - 300)
            assert opened.read() == data[-300:]
            opened.seek(70_000)
            assert [opened.read(100), opened.read(70_000)] == [data[70_000:70_100], data[70_100:140_100]]

    def test_the_ledger_keeps_what_two_runs_add_although_an_answer_is_lost(
        self, root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, true_lake: Lake
    ) -> None:
        ledger = RunLedger(open_store(root, proxy.access(seaweedfs.access)))
        ledger.begin("20261120T060000Z-a", "one", NOW)
        proxy.decide = Once("answer lost", ".jsonl")
        ledger.end("20261120T060000Z-a", NOW, {"exit_code": 0})
        true_lake.runs.begin("20261120T060000Z-b", "two", NOW)

        assert {(run.command, run.exit_code) for run in true_lake.runs.newest(9)} == {("one", 0), ("two", None)}
        lines = open_store(root, seaweedfs.access).read("runs/2026-11.jsonl").splitlines()
        assert len(lines) == 3
