"""Charts of session counts for terminals: bars of block characters, or of ``#``.

The functions return Rich tables as wide as the terminal. Each bar has its number, so that a chart
can be read without colour.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Optional

from clarinet_cli.cli.cells import column_title, format_cell, relative_time
from clarinet_cli.cli.tables import COLUMN_GAP, rich_table
from clarinet_cli.cli.text import address_parts, display_width, wrap_words
from clarinet_cli.results import SessionGroup, SessionStats
from clarinet_cli.types import GroupBy

if TYPE_CHECKING:
    from rich.console import RenderableType

BLOCKS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")  # 0 to 7 eighths of a column
FULL_BLOCK = "█"
ASCII_BLOCK = "#"
STYLES = {
    "active": "green",
    "idle": "yellow",
    "expired": "bright_black",
    "blocked": "red",
    "invalid": "magenta",
}
STATES = tuple(STYLES)
BAR_STYLE = "cyan"
SHARE_WIDTH = len("100.0 %")
MIN_BAR, MAX_BAR = 10, 60
MIN_NARROW_BAR = 4  # if the keys need the space
MAX_AGENT = 32  # columns of user agents; those in full are wrapped between words
MAX_EMPTY_PERIODS = 12  # consecutive ones with a line each
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PERIODS = {GroupBy.DAY: timedelta(days=1), GroupBy.HOUR: timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class Canvas:
    """The terminal that a chart is drawn for.

    Attributes:
        width: Its columns.
        blocks: Whether its encoding has block characters.
        now: When the counts were read, aware UTC.
    """

    width: int
    blocks: bool
    now: datetime

    @classmethod
    def of(cls, width: int, encoding: str, now: datetime) -> "Canvas":
        """Return the canvas for a terminal with this width and encoding."""
        try:
            "".join([*BLOCKS, FULL_BLOCK]).encode(encoding)
        except UnicodeEncodeError:
            return cls(width, blocks=False, now=now)
        return cls(width, blocks=True, now=now)

    def bar(self, part: int, whole: int, length: int) -> str:
        """Return a bar for a part of a whole; a part above 0 is always visible.

        Args:
            part: The number that the bar stands for.
            whole: The number of a bar of full length.
            length: The columns of a bar of full length.
        """
        if part <= 0 or whole <= 0:
            return ""
        if not self.blocks:
            return ASCII_BLOCK * max(1, round(part * length / whole))
        eighths = max(1, round(part * length * 8 / whole))
        return FULL_BLOCK * (eighths // 8) + BLOCKS[eighths % 8]


def stats_chart(
    stats: SessionStats, canvas: Canvas, changes: Optional[Mapping[str, str]] = None
) -> "RenderableType":
    """Return the statistics of all sessions as a chart.

    Args:
        stats: The statistics.
        canvas: The terminal.
        changes: What has changed, by field, shown after the numbers; None: no such column.
    """
    from rich.console import Group
    from rich.text import Text

    states = {name: count for name in STATES if (count := getattr(stats, name)) is not None}
    sections = [
        _Bar(name, count, stats.total, STYLES[name], changes, name)
        for name, count in states.items()
    ]
    oldest = max(stats.age.values(), default=0)
    ages = [
        _Bar(name.replace("_", " "), count, oldest, BAR_STYLE, changes, f"age.{name}")
        for name, count in stats.age.items()
    ]
    number = (
        "no sessions" if not stats.total else f"{stats.total} session{'s' * (stats.total != 1)}"
    )
    heading = f"{number} {_change(changes, 'total')}".rstrip()
    label = max(display_width(bar.label) for bar in [*sections, *ages])
    return Group(
        Text(heading, style="bold"),
        Text(),
        _bars(sections, stats.total, label, canvas, changes),
        Text(),
        Text("age", style="bold"),
        _bars(ages, stats.total, label, canvas, changes),
        Text(),
        _facts(stats, canvas, changes),
    )


@dataclass(frozen=True, slots=True)
class _Bar:
    """A line of a chart; ``whole`` is the number of a bar of full length."""

    label: str
    count: int
    whole: int
    style: str
    changes: Optional[Mapping[str, str]]
    field: str


def _bars(
    bars: Sequence[_Bar],
    total: int,
    label: int,
    canvas: Canvas,
    changes: Optional[Mapping[str, str]],
) -> "RenderableType":
    """Return lines of a label, a number, its share of the total, and a bar."""
    from rich.table import Table
    from rich.text import Text

    digits = len(str(total))
    change = [] if changes is None else [max(digits + 1, *map(len, changes.values()), 1)]
    widths = [label, digits, *change, SHARE_WIDTH]
    length = max(1, canvas.width - sum(widths) - len(COLUMN_GAP) * len(widths))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number, width in enumerate([*widths, length]):
        justify: Any = "right" if 0 < number < len(widths) else "left"
        table.add_column(width=width, no_wrap=True, overflow="crop", justify=justify)
    for bar in bars:
        table.add_row(
            bar.label,
            str(bar.count),
            *([Text(_change(changes, bar.field), style="bold")] if change else []),
            _share(bar.count, total),
            Text(canvas.bar(bar.count, bar.whole, length), style=bar.style),
        )
    return table


def _facts(
    stats: SessionStats, canvas: Canvas, changes: Optional[Mapping[str, str]]
) -> "RenderableType":
    """Return the statistics that are not counts of sessions, one per line."""
    from rich.table import Table
    from rich.text import Text

    expiry = stats.next_expiry
    facts = {
        "users": ("users with sessions", str(stats.users)),
        **{
            name: (column_title(name), format_cell(name, getattr(stats, name), compact=True))
            for name in ("average_life_seconds", "longest_life_seconds")
        },
        "next_expiry": ("next expiry", relative_time(expiry, canvas.now) if expiry else "-"),
    }
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, (title, value) in facts.items():
        change = [] if changes is None else [Text(_change(changes, name), style="bold")]
        table.add_row(Text(title), Text(value), *change)
    return table


def group_chart(
    groups: Sequence[SessionGroup],
    by: GroupBy,
    canvas: Canvas,
    changes: Optional[Mapping[Optional[str], str]] = None,
) -> "RenderableType":
    """Return groups of sessions as a table with a bar for each.

    States are omitted if the terminal is too narrow for their columns.

    Args:
        groups: The groups; not empty.
        by: The key that they are grouped by, the heading of the first column.
        canvas: The terminal.
        changes: What has changed, by key, shown after the numbers; None: no such column.
    """
    from rich.text import Text

    numbers = [*STATES, *([] if by is GroupBy.USER else ["users"])]
    numbers = [
        name for name in numbers if any(getattr(group, name) is not None for group in groups)
    ]
    widths = {
        name: max(len(name), *(len(str(getattr(group, name) or 0)) for group in groups))
        for name in ["total", *numbers]
    }
    changed = [] if changes is None else [max(map(len, ("change", *changes.values())))]
    keys = [format_cell("key", group.key, compact=True) for group in groups]
    if by is GroupBy.AGENT:  # in few words, unless another one has the same
        short = [format_cell("user_agent", group.key, compact=True) for group in groups]
        counts = Counter(short)
        keys = [name if counts[name] == 1 else key for name, key in zip(short, keys, strict=True)]
    key_width = max(map(display_width, [by, *keys]))
    others = [widths["total"], *changed]
    room = canvas.width - sum(others) - len(COLUMN_GAP) * (len(others) + 1)
    key_width = _key_width(by, keys, key_width, room)
    length, shown = room - key_width, []
    for name in numbers:
        if length - widths[name] - len(COLUMN_GAP) < MIN_BAR:
            break
        length -= widths[name] + len(COLUMN_GAP)
        shown.append(name)
    length = max(1, min(length, MAX_BAR))
    table = rich_table()
    table.add_column(Text(by), width=key_width, overflow="fold")
    table.add_column("total", width=widths["total"], justify="right")
    for width in changed:
        table.add_column("change", width=width)
    table.add_column("", width=length, no_wrap=True)
    for name in shown:
        table.add_column(name, width=widths[name], justify="right")
    most = max(group.total for group in groups)
    for key, group in zip(keys, groups, strict=True):
        table.add_row(
            Text("\n".join(wrap_words(key, key_width))),
            str(group.total),
            *([Text((changes or {}).get(group.key, ""), style="bold")] if changed else []),
            Text(canvas.bar(group.total, most, length), style=BAR_STYLE),
            *(str(getattr(group, name) or 0) for name in shown),
        )
    return table


def _key_width(by: GroupBy, keys: Sequence[str], wanted: int, room: int) -> int:
    """Return the columns for the keys beside a bar: only agents and e-mail addresses are wrapped.

    Args:
        by: The kind of the keys.
        keys: The keys.
        wanted: The columns that the longest key takes.
        room: The columns for the keys and the bars.
    """
    if by is GroupBy.AGENT:
        return max(1, min(wanted, MAX_AGENT, room - MIN_BAR))
    if by is GroupBy.USER and wanted > room - MIN_NARROW_BAR:
        longest = max(display_width(part) for key in keys for part in address_parts(key))
        return max(1, min(max(longest, room - MIN_BAR), room - MIN_NARROW_BAR))
    return max(1, min(wanted, room - 1))


def with_empty_periods(
    groups: Iterable[SessionGroup], by: GroupBy, now: datetime
) -> Iterator[SessionGroup]:
    """Yield periods, newest first, including those without sessions up to now.

    Many consecutive empty periods become one group, whose key has their number. A key that is not a
    valid period is yielded unchanged.

    Args:
        groups: The periods with sessions, newest first.
        by: DAY or HOUR.
        now: When they were counted.
    """
    newer = (now - EPOCH) // PERIODS[by] + 1
    for group in groups:
        number = _period_number(group.key, by)
        if number is not None:
            yield from _empty_periods(number + 1, newer, by)
            newer = number
        yield group


def _period_number(key: Optional[str], by: GroupBy) -> Optional[int]:
    """Return the number of a period since the epoch; None if the key is not a timestamp."""
    try:
        start = datetime.fromisoformat(key or "")
    except ValueError:
        return None
    return (start.replace(tzinfo=UTC) - EPOCH) // PERIODS[by]


def _empty_periods(first: int, end: int, by: GroupBy) -> Iterator[SessionGroup]:
    """Yield the periods from *first* to before *end* without sessions, newest first."""
    if end - first > MAX_EMPTY_PERIODS:
        yield SessionGroup(f"({end - first} empty {by}s)", 0, 0, 0, 0, 0, 0)
        return
    for number in range(end - 1, first - 1, -1):
        start = (EPOCH + number * PERIODS[by]).isoformat()
        key = start[:10] if by is GroupBy.DAY else f"{start[:13]}:00Z"
        yield SessionGroup(key, 0, 0, 0, 0, 0, 0)


def _share(part: int, whole: int) -> str:
    """Return a share in per cent; a share above 0 is not shown as 0."""
    if not whole:
        return "-"
    percent = f"{part / whole:.1%}".removesuffix("%")
    return "<0.1 %" if part and percent == "0.0" else f"{percent} %"


def _change(changes: Optional[Mapping[str, str]], name: str) -> str:
    return (changes or {}).get(name, "")
