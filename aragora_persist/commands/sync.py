"""``sync``: what waits on this machine for its way to Supabase; sending it by hand; dead letters."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from aragora_persist.commands.console import Progress, print_json, read_settings
from aragora_persist.errors import NotFoundError
from aragora_persist.status import collect_status, find_refusals
from aragora_persist.wording import count_text, span_text

if TYPE_CHECKING:
    from argparse import Namespace

    from aragora_persist.settings import Settings
    from aragora_persist.status import OutboxStatus, Refusal, Status


def run(arguments: Namespace) -> int:
    """Show what waits, send it, or let dead letters wait again.

    Raises:
        NotFoundError: there is no outbox that can be worked with.

    """
    settings = read_settings(arguments)
    status = collect_status(settings, ["outbox"])
    [database] = status.databases
    if status.outbox is None:
        problem = database.problem or ("its schema is older than this release's" if database.present else "")
        raise NotFoundError(
            "sync", database.path, problem or "there is no outbox yet", hint=database.hint or "aragora-persist migrate"
        )
    if arguments.once:
        return _send(settings, json=arguments.json)
    if arguments.redrive:
        return _redrive(settings, json=arguments.json)
    _show(status, status.outbox, find_refusals(database.path), json=arguments.json)
    return 0


def _send(settings: Settings, *, json: bool) -> int:
    from aragora_persist.cloud.drain import drain  # noqa: PLC0415 - showing what waits needs none of it

    with Progress("records") as progress:
        done = drain(settings, progress)
    if json:
        answer = {"sent": done.sent, "refused": done.refused, "pending": done.waiting, "problem": done.problem or None}
        print_json(answer)
    else:
        print(f"{count_text(done.sent, 'record')} sent, {count_text(done.refused, 'new dead letter')}, ", end="")
        print(f"{done.waiting:,} waiting")
        if done.problem:
            print(f"Problem: {done.problem}")
        if done.refused:
            print("Why: aragora-persist sync --status; again, when the cause is gone: aragora-persist sync --redrive")
    return 0 if done.complete else 1


def _redrive(settings: Settings, *, json: bool) -> int:
    from aragora_persist.cloud.delivery import redrive  # noqa: PLC0415 - as above
    from aragora_persist.cloud.outbox import Outbox  # noqa: PLC0415 - as above

    with Outbox(settings=settings) as outbox:
        count = redrive(outbox)
    if json:
        print_json({"redriven": count})
    else:
        print(f"{count_text(count, 'dead letter')} put back on the way to Supabase")
    return 0


def _show(status: Status, outbox: OutboxStatus, refusals: list[Refusal], *, json: bool) -> None:
    now = status.taken_at
    if json:
        print_json({**outbox.to_json(now), "refusals": [asdict(one) for one in refusals]})
        return
    oldest = f", the oldest for {span_text(outbox.oldest_age_s(now))}" if outbox.oldest_at else ""
    print(f"{count_text(outbox.pending, 'record')} waiting for Supabase{oldest}")
    print(count_text(outbox.dead_letters, "dead letter"))
    for one in refusals:
        print(f"  {one.count:,} of {one.table}: {one.reason}")
    if outbox.last_success_at:
        print(f"Last delivery: {span_text((now - outbox.last_success_at).total_seconds())} ago")
    if not status.supabase_configured:
        print("Supabase is not configured: set SUPABASE_URL and SUPABASE_KEY")
    elif outbox.problem:
        print(f"Problem: {outbox.problem}")
