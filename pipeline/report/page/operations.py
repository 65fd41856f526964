"""What was done with the lake: its last runs, what was verified, and what the warehouse has of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.lake.runs import RunEntry
from pipeline.report.page import figures
from pipeline.report.page.elements import Content, Html, tag
from pipeline.report.page.facts import PageFacts
from pipeline.report.page.language import Language
from pipeline.report.page.overview import state_badge
from pipeline.report.runs import rows_of
from pipeline.run_history import SCOPES, Proof, Scope
from pipeline.warehouse.ledger import SnapshotEntry

_RUNS, _ERRORS, _FINDINGS, _SNAPSHOTS = 15, 3, 20, 30


def runs(facts: PageFacts, language: Language) -> Html:
    shown = facts.history.runs[:_RUNS]
    if not shown:
        return figures.section("runs", language.say("runs_title"), tag("p", language.say("no_runs")))
    head = [language.say(key) for key in ("begun", "command", "state", "took", "rows")]
    rows = [_run_row(run, language) for run in shown]
    table = figures.table(language.say("runs_caption"), head, rows, "runs", right={3, 4})
    return figures.section("runs", language.say("runs_title"), table, lead=language.say("runs_lead"))


def _run_row(run: RunEntry, language: Language) -> list[Content]:
    rows = rows_of(run)
    reasons = [tag("span", error.get("message", ""), class_="reason") for error in run.errors[:_ERRORS]]
    return [
        figures.moment(language, run.begun_at),
        [tag("code", run.command), *reasons],
        state_badge(run.state, language),
        "" if run.seconds is None else tag("data", language.duration(run.seconds), value=f"{run.seconds:.3f}"),
        "" if rows is None else figures.number(language, rows),
    ]


def checks(facts: PageFacts, language: Language) -> Html:
    """What `verify` compared last, with what, and what it found."""
    proofs = facts.history.proofs
    head = [language.say(key) for key in ("compared", "when", "feeds", "outcome")]
    scopes = [scope for scope in SCOPES if scope not in ("new files", "logs") or scope in proofs]
    rows = [_check_row(scope, proofs.get(scope), facts, language) for scope in scopes]
    table = figures.table(language.say("checks_caption"), head, rows, "checks", right={2})
    newest = max(proofs.values(), key=lambda proof: proof.run.begun_at, default=None)
    return figures.section("checks", language.say("checks_title"), table, *_findings(newest, language),
                           lead=language.say("checks_lead"))  # fmt: skip


def _check_row(scope: Scope, proof: Proof | None, facts: PageFacts, language: Language) -> list[Content]:
    title = [language.say(f"check {scope}"), tag("span", language.say(f"check {scope} means"), class_="about")]
    if proof is None:
        words = "deep" if scope == "files" else scope
        hint = tag("code", f"python metadata_utils.py verify --{words}")
        return [title, language.say("never"), "", [figures.badge("plain", language.say("not_checked")), " ", hint]]
    if proof.findings:
        outcome = figures.badge("bad", language.count("problems", len(proof.findings)))
    elif not proof.is_clean:
        outcome = figures.badge("care", language.say("not_all_checked"))
    else:
        outcome = figures.badge("good", language.say("no_problem"))
    when = [figures.moment(language, proof.run.begun_at), " (", language.ago(proof.run.begun_at, facts.now), ")"]
    return [title, when, figures.number(language, proof.feeds), outcome]


def _findings(proof: Proof | None, language: Language) -> Iterator[Html]:
    if proof is None:
        return
    lines = [f"{_text(one, 'feed')}: {_text(one, 'what')}: {_text(one, 'detail')}" for one in proof.findings]
    lines += [f"{_text(one, 'feed')}: {_text(one, 'message')}" for one in proof.errors]
    if lines:
        yield tag("h3", language.say("found"))
        yield tag("ul", *(tag("li", line) for line in lines[:_FINDINGS]))
    if len(lines) > _FINDINGS:
        yield tag("p", language.count("and_more", len(lines) - _FINDINGS))


def _text(one: object, key: str) -> str:
    value = one.get(key) if isinstance(one, dict) else None
    return "" if value is None else str(value)


def warehouse(facts: PageFacts, language: Language) -> Html:
    title, asked = language.say("warehouse_title"), facts.warehouse
    if asked is None:
        hint = tag("code", "python metadata_utils.py --html FILE --warehouse")
        return figures.section("warehouse", title, tag("p", language.say("not_asked"), " ", hint))
    if asked.error is not None:
        said = tag("p", figures.badge("care", language.say("warehouse_away")), " ", asked.error.message)
        return figures.section("warehouse", title, said, tag("p", asked.error.hint, class_="hint"))
    head = [language.say(key) for key in ("snapshot", "taken", "loaded", "rows", "rejected", "shown_by")]
    rows = [_snapshot_row(entry, language) for entry in asked.snapshots[:_SNAPSHOTS]]
    if not rows:
        return figures.section("warehouse", title, tag("p", language.say("no_snapshots")))
    table = figures.table(language.say("snapshots_caption"), head, rows, "snapshots", right={3, 4})
    rest = len(asked.snapshots) - len(rows)
    more = tag("p", language.count("and_more", rest)) if rest > 0 else None
    return figures.section("warehouse", title, table, more, lead=_current(asked.snapshots, language))


def _snapshot_row(entry: SnapshotEntry, language: Language) -> Sequence[Content]:
    return [
        str(entry.version),
        figures.moment(language, entry.taken_at),
        figures.moment(language, entry.loaded_at),
        figures.number(language, entry.row_count),
        tag("data", figures.badge("bad", language.number(entry.rejected_count)), value=entry.rejected_count)
        if entry.rejected_count
        else figures.number(language, 0),
        [[figures.name(fact), " "] for fact in entry.shown] or "\u2013",
    ]


def _current(snapshots: Sequence[SnapshotEntry], language: Language) -> str:
    """Whether the views show the newest data."""
    behind = [entry for entry in snapshots[1:] if entry.shown]
    if behind:
        return language.count("views_behind", sum(len(entry.shown) for entry in behind))
    return language.say("views_newest", version=str(snapshots[0].version))
