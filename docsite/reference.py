"""The reference of commands, settings, errors and JSON, written from the code, so that nothing is missing in it."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from data_lake_config import PROJECT_ROOT, Settings
from docsite.pages import ROOT, path_of
from docsite.words import Words
from pipeline import errors
from pipeline.kafka.settings import KafkaSettings
from pipeline.ksqldb.settings import KsqldbSettings
from pipeline.lake.settings import StoreSettings
from pipeline.notice_settings import NoticeSettings

FORMS = ROOT / "tests" / "integration" / "json_forms"
FORM_OF = {
    "lake": "metadata_utils.py --json",
    "history-of-a-stream": "metadata_utils.py history STREAM --json",
    "history-of-a-table": "metadata_utils.py history TABLE --json",
    "sql": "metadata_utils.py sql SELECT --format json",
    "verify": "metadata_utils.py verify --source --json",
    "findings": "metadata_utils.py verify --json, where something is wrong",
    "export": "export_to_data_lake.py --all --dry-run --json",
    "feeds": "manage_feeds.py list --json",
    "checks": "test_setup.py --no-mysql --json",
    "load": "sync_to_mysql.py --json",
    "loads": "sync_to_mysql.py --source lake --all-versions --json",
    "snapshots": "sync_to_mysql.py history --json",
    "moves": "sync_to_mysql.py rollback --to-snapshot N --json",
    "expiry": "sync_to_mysql.py expire --keep-snapshots N --json",
    "redated": "sync_to_mysql.py redate --snapshot N --taken-at TIME --json",
}
_WRITTEN = "<!-- written by `python -m docsite --reference`: change the code, not this page -->"
_OUTCOMES = {
    "0": "done",
    "1": "a person must act: the error says what happened, the hint what to do",
    "2": "wrong usage; nothing was done",
    "75": "nothing was lost or changed by halves; the same command may succeed later",
    "130, 143": "ended by Ctrl-C or SIGTERM; what was committed stays, the next run goes on",
}


def write() -> list[Path]:
    """Writes all pages in both languages; returns those that were not as they are now."""
    changed = []
    for language in ("en", "fr"):
        for page, text in pages(Words(language)).items():
            path = path_of(page, language)
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                changed.append(path)
    return changed


def pages(words: Words) -> dict[str, str]:
    made: dict[str, Callable[[Words], Iterator[str]]] = {
        "reference/commands": commands_page,
        "reference/settings": settings_page,
        "reference/errors": errors_page,
        "reference/json": json_page,
    }
    return {page: "\n".join([*lines(words), ""]) for page, lines in made.items()}


def scripts() -> dict[str, click.Command]:
    return {path.name: importlib.import_module(path.stem).main for path in sorted(ROOT.glob("*.py"))}


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A script, and each of its commands by the words that are typed."""
    yield name, command
    for word, below in sorted(command.commands.items()) if isinstance(command, click.Group) else ():
        yield from commands(f"{name} {word}", below)


def commands_page(words: Words) -> Iterator[str]:
    yield from _head(words, "Reference: commands and options")
    yield words("Each script has these options, and so has each of its commands:")
    found = scripts()
    shared = common_options(found)
    yield from _options(words, found["test_setup.py"], list(shared.values()))
    for script, top in found.items():
        for name, command in commands(script, top):
            yield f"\n## {name}\n" if name == script else f"\n### {name}\n"
            yield words(_help(command))
            yield f"\n```text\n{_usage(name, command)}\n```"
            own = [one for one in options_of(command) if _key(one) not in shared]
            yield from _options(words, command, own) if own else ()


def common_options(scripts: Mapping[str, click.Command]) -> dict[str, click.Option]:
    """Those that several scripts have and that no command gets as a value, in the order in which help shows them."""
    all_of_them = [one for script in scripts.values() for one in options_of(script) if not one.expose_value]
    counts = Counter(map(_key, all_of_them))
    return {_key(one): one for one in all_of_them if counts[_key(one)] > 1}


def _key(option: click.Option) -> str:
    return f"{option.opts} {option.help}"


def options_of(command: click.Command) -> list[click.Option]:
    return [one for one in _parameters(command) if isinstance(one, click.Option)]


def _parameters(command: click.Command) -> list[click.Parameter]:
    return command.get_params(_context(command))


def _context(command: click.Command) -> click.Context:
    return command.make_context(command.name, [], resilient_parsing=True)


def _usage(name: str, command: click.Command) -> str:
    return f"python {name} {' '.join(command.collect_usage_pieces(_context(command)))}"


def _help(command: click.Command) -> str:
    return (command.help or "").partition("\f")[0]


def _options(words: Words, command: click.Command, options: list[click.Option]) -> Iterator[str]:
    yield "\n" + _columns(words, "option", "value", "what it does")
    for option in options:
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        value = "" if option.is_flag or option.count else _value(words, command, option)
        yield f"| {names} | {value} | {_cell(words(option.help or ''))} |"


def _value(words: Words, command: click.Command, option: click.Option) -> str:
    kind, context = option.type, _context(command)
    if isinstance(kind, click.Choice):
        text = f" {words('or')} ".join(f"`{choice}`" if choice else '`""`' for choice in kind.choices)
    else:
        text = f"`{option.make_metavar(context).strip('[]').split('|')[0]}`"
        text = text.replace("INTEGER RANGE", "N")
    notes = [words("required")] if option.required else []
    if isinstance(kind, click.IntRange | click.FloatRange):
        notes += [f"{'>' if kind.min_open else '≥'} {kind.min}"] if kind.min is not None else []
        notes += [f"≤ {_number(kind.max)}"] if kind.max is not None else []
    extra = option.get_help_extra(context)
    notes += [f"{words('default')} `{extra['default']}`"] if "default" in extra else []
    return ", ".join([text, *notes])


def settings_page(words: Words) -> Iterator[str]:
    yield from _head(words, "Reference: settings")
    yield words(
        "Lines `NAME=VALUE` in `.env` beside the scripts, or environment variables of the same names, which count "
        "more. A secret can also be given as `NAME_FILE`, the path of a file that holds it."
    )
    fields = Settings.model_fields
    warehouse = [name for name in fields if name.startswith(("mysql_", "scd2_"))]
    notices, stores = list(NoticeSettings.model_fields), list(StoreSettings.model_fields)
    apart = {*warehouse, *notices, *stores, *KsqldbSettings.model_fields, *KafkaSettings.model_fields}
    for title, names in (
        ("The lake and its runs", [name for name in fields if name not in apart]),
        ("The lake on an object store", stores),
        ("ksqlDB", list(KsqldbSettings.model_fields)),
        ("Kafka and its Schema Registry", list(KafkaSettings.model_fields)),
        ("The warehouse", warehouse),
        ("Alerts and lineage", notices),
    ):
        yield f"\n## {words(title)}\n"
        yield _columns(words, "setting", "default", "values", "what it is")
        for name in names:
            field = fields[name]
            assert field.description, name
            also = f", `{name.upper()}_FILE`" if field.annotation is SecretStr else ""
            yield (
                f"| `{name.upper()}`{also} | {_default(field)} | {_allowed(words, field)} "
                f"| {_cell(words(field.description))} |"
            )


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    text = str(int(value) if isinstance(value, bool) else value).removeprefix(f"{PROJECT_ROOT}/")
    return f"`{text}`" if text else ""


def _allowed(words: Words, field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f" {words('or')} ".join(f"`{value}`" for value in get_args(field.annotation) if value)
    if field.annotation is bool:
        return f"`0` {words('or')} `1`"
    signs = {"gt": "> ", "ge": "≥ ", "lt": "< ", "le": "≤ "}
    limits = [(sign, getattr(rule, name, None)) for rule in field.metadata for name, sign in signs.items()]
    return ", ".join(f"{sign}{_number(limit)}" for sign, limit in limits if limit is not None)


def _number(value: float) -> str:
    return f"{value:,}".replace(",", "\u00a0")


def errors_page(words: Words) -> Iterator[str]:
    yield from _head(words, "Reference: exit codes and errors")
    yield _columns(words, "exit code", "meaning")
    for code, meaning in _OUTCOMES.items():
        yield f"| {code} | {words(meaning)} |"
    for base in (errors.ActionNeeded, errors.WrongUsage, errors.TryLater):
        yield f"\n## {words('Exit code')} {base.exit_code}\n"
        yield f"{words(base.__doc__ or '')}\n\n{_columns(words, 'error', 'what it says')}"
        for name, error in vars(errors).items():
            if isinstance(error, type) and issubclass(error, base) and error is not base:
                yield f"| `{name}` | {_cell(words((error.__doc__ or '').partition('; `')[0]))} |"


def json_page(words: Words) -> Iterator[str]:
    yield from _head(words, "Reference: JSON")
    yield words(
        "What `--json` prints, of small examples. Fields are added, never renamed or removed, as long as "
        "`schema_version` stays; a test compares each byte. Times, sizes and ids differ from run to run."
    )
    for name, command in FORM_OF.items():
        words_of_command, _, where = command.partition(", ")
        yield f"\n## {words_of_command}{f', {words(where)}' if where else ''}\n"
        form = json.loads((FORMS / f"{name}.json").read_text(encoding="utf-8"))
        yield f"```json\n{json.dumps(_short(form), indent=2, ensure_ascii=False)}\n```"


def _short(form: Any) -> Any:
    """Of each list the first elements: those after it have the same fields."""
    if isinstance(form, list):
        return [_short(one) for one in form[:2]]
    return {key: _short(value) for key, value in form.items()} if isinstance(form, dict) else form


def _head(words: Words, title: str) -> Iterator[str]:
    yield f"# {words(title)}\n\n{_WRITTEN}\n"


def _columns(words: Words, *names: str) -> str:
    return f"| {' | '.join(map(words, names))} |\n{'|---' * len(names)}|"


def _cell(text: str) -> str:
    return text.replace("|", "&#124;")
