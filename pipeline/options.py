"""Options that commands share: their types, and groups of them that go together."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from pipeline.cli import warn
from pipeline.errors import WrongUsage

_C = TypeVar("_C", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A finite number of seconds, at most a month."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, max=30 * 86_400, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


class Day(click.ParamType[dt.date]):
    """A date."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        found = re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no date: write YYYY-MM-DD, as 2026-11-30.", param, ctx)
        try:
            return dt.date(*map(int, found.groups()))
        except ValueError:
            self.fail(f"there is no day {value}.", param, ctx)


class Moment(click.ParamType[dt.datetime]):
    """A moment: a day and a time of ISO 8601, in UTC where it names no other offset, or the beginning of a day."""

    name = "YYYY-MM-DDTHH:MM:SSZ"
    _FORM = re.compile(r"([\d-]+)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?))?", re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        found = self._FORM.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no time: {self.how()}.", param, ctx)
        day = Day().convert(found[1], param, ctx)
        try:
            at = dt.datetime.combine(day, dt.time.fromisoformat(found[2] or "00:00"))
            return at.replace(tzinfo=at.tzinfo or dt.UTC).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self.fail(f"there is no time {value}.", param, ctx)

    @staticmethod
    def how() -> str:
        return "write YYYY-MM-DDTHH:MM:SSZ in UTC, as 2026-11-30T09:33:00Z, or a day, as 2026-11-30"


class RunName(click.ParamType[str]):
    """A run by its name in the ledger, or a moment in UTC: what began then or later."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", str(value)):
            return str(value)
        if not re.match(r"\d{4}-", str(value)):
            self.fail(
                f"{value!r} is no run and no time: give a run's name, as 20261130T093300Z-1a2b3c4d, or {Moment.how()}.",
                param,
                ctx,
            )
        return f"{Moment().convert(value, param, ctx):%Y%m%dT%H%M%SZ}"


class Size(click.ParamType[int]):
    """Bytes, as `128MB` or `1.5 GB`: decimal units, as they are shown."""

    name = "size"
    _UNITS = MappingProxyType({"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) *([KMG]?B|)", str(value).strip().upper())
        size = int(float(found[1]) * self._UNITS[found[2]]) if found else 0
        if size < 1:
            self.fail(f"{value!r} is no size such as 128MB.", param, ctx)
        return size


def handed_on(context: click.Context) -> bool:
    """Whether a group runs one of its commands. Options that were given before the command's name are passed on to it.

    Options that the group's own function does not receive apply to every command and are not passed on. Raises
    WrongUsage for any other option that the command does not have.
    """
    name = context.invoked_subcommand
    if name is None:
        return False
    assert isinstance(context.command, click.Group)
    known = {parameter.name for parameter in context.command.commands[name].params}
    handed = {}
    for parameter in context.command.params:
        field = parameter.name or ""
        if not parameter.expose_value or context.get_parameter_source(field) is not ParameterSource.COMMANDLINE:
            continue
        if field not in known:
            raise WrongUsage(f"{parameter.opts[-1]} does not go with the command {name}", "leave it out")
        handed[field] = context.params[field]
    context.default_map = {**(context.default_map or {}), name: handed}
    return True


def _keep_given(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keeps an option of `mysql_server` for every command, as `context.obj`."""
    given = context.ensure_object(dict)
    if value is not None:
        given[parameter.name] = value
    if parameter.name == "password" and context.get_parameter_source("password") is ParameterSource.COMMANDLINE:
        warn("others can see a password on the command line; use MYSQL_PASSWORD_FILE")


def _mysql_option(name: str, help: str | None = None, **more: Any) -> Callable[[_C], _C]:
    flag = f"--mysql-{name}" if name != "database" else "--database"
    return click.option(flag, name.replace("-", "_"), help=help, expose_value=False, callback=_keep_given, **more)


_MYSQL_OPTIONS = (
    _mysql_option("host", "Default: MYSQL_HOST; the same for the other options."),
    _mysql_option("port", "TCP port.", type=click.IntRange(1, 65535)),
    _mysql_option("socket", "Unix socket, instead of host and port."),
    _mysql_option("user", "Account."),
    _mysql_option(
        "password",
        "Without a value it is asked for. Better: MYSQL_PASSWORD or MYSQL_PASSWORD_FILE.",
        prompt=True,
        prompt_required=False,
        hide_input=True,
        default=None,
    ),
    _mysql_option("ssl-ca", "PEM file with the server's CA: TLS, with certificate and host name verified."),
    _mysql_option("ssl-cert", "PEM file with the client's certificate."),
    _mysql_option("ssl-key", "PEM file with its key."),
    _mysql_option("database", "Database of the star schema."),
)


def mysql_server(command: _C) -> _C:
    """The options that say where the warehouse is, for a group; its commands find those given in `context.obj`."""
    for option in reversed(_MYSQL_OPTIONS):
        command = option(command)
    return command


json_output = click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")


class _OrNone(click.IntRange):
    """A number from 1, or `none`, which is 0 here; the feed's own rules refuse a number that is too large."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return 0 if value == "none" else super().convert(value, param, ctx)


_FEED_OPTIONS = (
    click.option("--description", help="What it holds, for people."),
    click.option("--partitioning", metavar="RULE", help="Streams: date, or date:COLUMN. Tables: version."),
    click.option(
        "--storage-mode",
        type=click.Choice(["APPEND", "OVERWRITE"], case_sensitive=False),
        help="Streams APPEND, tables OVERWRITE.",
    ),
    click.option("--retention-days", type=_OrNone(1), help="Keep partitions (tables: versions) so long, or `none`."),
    click.option("--retention-versions", type=_OrNone(1), help="Tables: keep so many versions, or `none`."),
    click.option("--hot-days", type=_OrNone(1), help="In a bucket: older dates get a colder class; or `none`."),
    click.option("--max-age-hours", type=_OrNone(1), help="Its last export and newest row are no older; or `none`."),
    click.option("--min-rows-per-day", type=_OrNone(1), help="Streams: the day before has as many; or `none`."),
    click.option("--min-rows", type=_OrNone(1), help="Tables: the current version has as many; or `none`."),
    click.option(
        "--read-from", type=click.Choice(["ksqldb", "kafka", ""]), help="Where rows are read; else as the settings say."
    ),
    click.option(
        "--keep-unreadable/--drop-unreadable",
        default=None,
        help="Streams: keep the records that are no rows beside it.",
    ),
    click.option("--owner", help="Who answers for it."),
    click.option("--tag", "tags", multiple=True, help="A label (repeatable)."),
)


FEED_GROUPS = {
    "The feed": ("--name", "--type", "--source", "--description", "--owner", "--tag"),
    "How it is kept": ("--partitioning", "--storage-mode", "--retention-days", "--retention-versions", "--hot-days"),
    "How it is read": ("--read-from", "--keep-unreadable"),
    "When it is not well": ("--max-age-hours", "--min-rows-per-day", "--min-rows"),
}
"""The fields of a feed, as help shows them."""


def feed_fields(command: _C) -> _C:
    """The fields of a feed that can be changed."""
    for option in reversed(_FEED_OPTIONS):
        command = option(command)
    return command


_NAMED = "pipeline.feed_name"


def _keep_name(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[_NAMED] = value


def _one_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    given = context.meta.pop(_NAMED, None)
    if context.resilient_parsing:  # help, or completion in a shell
        return value
    if value is not None and given is not None and value != given:
        raise WrongUsage(f"two feeds are named: {value} and {given}", "name one")
    if value is None and given is None:
        raise WrongUsage("no feed is named", f"python {context.command_path} NAME")
    if value is None:
        context.set_parameter_source(parameter.name or "", ParameterSource.COMMANDLINE)
    return given if value is None else value


def feed_name(complete: Callable[[click.Context, click.Parameter, str], list[str]]) -> Callable[[_C], _C]:
    """The name of one feed, as an argument or by --name; `complete` completes it in a shell."""

    def decorate(command: _C) -> _C:
        by_option = click.option(
            "--name", "named", expose_value=False, is_eager=True, callback=_keep_name, metavar="NAME", help="The feed.",
            shell_complete=complete,
        )  # fmt: skip
        return click.argument("name", required=False, callback=_one_name, shell_complete=complete)(by_option(command))

    return decorate


yes = click.option("--yes", is_flag=True, help="Do it.")
