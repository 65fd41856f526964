"""The machinery behind the scripts, room by room; each imports only from those above it. docs/architecture.md has more.

    printable, errors
                    text that a terminal shows as it is; every error: message, hint, exit code
    start, prerequisites, process, child_process, settings, validation, faults, text, progress
                    the ground of a command: packages, processes, `.env`, rules in words, counts, tables and progress
    feeds           what a feed is, and its mapping to the warehouse
    columns         one table of types; names and roles of columns
    scratch, scratch_database
                    temporary folders for rows that do not fit in memory, and DuckDB with such a folder
    cycles, findings, exact_text, value_hash, row_hash, fingerprint
                    the garbage collector switched off; what a check found; values as exact text; the hash of rows
    turns, limits, source, unreadable, once
                    turns of threads, limits of reads; the interface of sources, unreadable records, each row once
    decode/         bytes to typed Arrow columns
    ksqldb/         the source that is read by REST
    kafka/          the source that is read from the brokers
    lake/           the commit, files, retention, metadata, views
    export/         a feed's run: plan, stage, commit
    warehouse/      MySQL: what fits, the load, the ledger
    verify/         lake, source and warehouse compared
    damage, repair  what is wrong with a feed's data, and its repair
    feed_changes, readiness
                    feeds that are added or changed, and a machine before its first run, checked
    run_history, health, alert, alert_rule, lineage, notice_settings
                    what became of exports and verifications; whether each feed is as it has to be; who is alerted
    query           SQL over the committed rows of feeds, now or as they were, read-only
    night           what follows an export in the same run: the warehouse's sync, the proof of what is new
    report/         what is known of a lake, as values and as text
    journal, cli, display, usage, scripts, options
                    the log and record of a run; the terminal, the clock, progress, help; what each script is made of

To add a source, go to `source` and put a folder beside ksqldb/. To add a type, go to `columns`. To add a store, go to
lake/. To add a check, go to verify/; a column of the report, to report/; an error, to `errors`.
"""

VERSION = "0.1.0"
