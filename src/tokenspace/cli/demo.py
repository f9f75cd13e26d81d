"""`demo`: a frozen model gets better at a real task because its context learns, live."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tokenspace.cli.options import given, verb
from tokenspace.cli.output import emit, note
from tokenspace.errors import UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.streams.attack import Plan, Progress, Side
    from tokenspace.streams.desk import CountingAgent, Result
    from tokenspace.streams.items import Draw, Item

AGENT: Final = "support-desk"
PRINCIPAL: Final = "desk"
TITLE: Final = "Written by `tokenspace demo`, which replaces this folder when it runs again."
QUESTION: Final = "my parcel never came"
MADE: Final = (".tokenspace", "context", "report.json", "report.txt", "learning-curve.png", "learning-curve.svg")
"""All that a demo leaves in its folder: what replaces it removes nothing else."""

QUICK: Final = {"teach": 48, "exam": 24}
ATTACKED: Final = {"teach": 60, "exam": 48}
ATTACKED_QUICK: Final = {"teach": 36, "exam": 24}
SLEEP_CALLS: Final = 60
INSTRUCTION_CALLS: Final = 12
EVERY: Final = 16


@verb("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("tokenspace-demo"),
    show_default=True,
    metavar="DIR",
    help="Where everything that it makes goes.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your own CSV: a column `text`, and the label as `label`, `category` or `intent`.",
)
@click.option("--labels", type=int, metavar="N", help="Draw N labels and give them names that no model can know.")
@click.option(
    "--seed", type=int, default=1, show_default=True, metavar="N", help="Which run: messages, order, teachers."
)
@click.option("--attack", is_flag=True, help="A saboteur teaches wrong answers and gives instructions.")
@click.option("--quick", is_flag=True, help="Half as many messages.")
@click.pass_context
def demo(
    ctx: click.Context, *, out: Path, data: Path | None, labels: int | None, seed: int, attack: bool, quick: bool
) -> None:
    r"""Watch an agent learn, in a few minutes and without a key.

    A support desk routes messages to teams whose names mean nothing to the model. 96 messages come in, each is
    answered and corrected by a colleague, one in ten corrections is wrong, and one colleague proposes a harmful rule.
    At the end there is an exam that nobody has seen, for three contexts: a frozen one, one to which everything was
    appended, and the one that went through the gate.

    With --attack one message in four is spoken about by a saboteur, who is a teacher like all others; the exam is for
    a context without the saboteur, for one with, and for one to which everything was appended.

    \b
    tokenspace demo
    tokenspace demo --attack
    tokenspace demo --data messages.csv --labels 8 --seed 2
    """
    from tokenspace.streams.desk import CARELESS, TEACHERS
    from tokenspace.streams.items import choose_labels, draw, read_items

    items = read_items(data)
    if labels is not None:
        items = choose_labels(items, labels, seed=seed)
    model = given().model or os.environ.get("TOKENSPACE_MODEL") or "local"
    if attack:
        _attack(ctx, items, out, model, seed=seed, quick=quick)
        return
    drawn = draw(items, seed=seed, teachers=TEACHERS, careless=CARELESS, **(QUICK if quick else {}))
    counter = _counter(model)
    agent = _prepare(out, drawn.labels, model, counter)
    ctx.call_on_close(agent.close)
    result = _run(ctx, agent, counter, drawn, out)
    report, files, missing = _write(agent, result, out, seed=seed, model=counter.profile.model)
    emit(lambda: {**report, "files": [str(file) for file in files]}, lambda: _ending(report, files, out, drawn, data))
    note(missing)


def _run(ctx: click.Context, agent: LearningAgent, counter: CountingAgent, drawn: Draw, out: Path) -> Result:
    from tokenspace.cli.live import view_of
    from tokenspace.streams.desk import run_desk

    view = view_of(drawn)
    try:
        with view:
            return run_desk(agent, counter, drawn, on_event=view.on_event)
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted: {view.progress()}", err=True)
        click.echo(f"what was learned is in {out}; run it again to begin anew", err=True)
        ctx.exit(130)


# ── the attack ──────────────────────────────────────────────────────────────────────────────


def _attack(ctx: click.Context, items: list[Item], out: Path, model: str, *, seed: int, quick: bool) -> None:
    """The attacked run. The folder keeps the project in which the saboteur is a teacher; the others are forgotten."""
    from tokenspace.streams.attack import Limits, plan, run_attack
    from tokenspace.streams.attack_report import attack_report, attack_text
    from tokenspace.streams.report import write_context, write_report

    made, started = plan(items, seed=seed, **(ATTACKED_QUICK if quick else ATTACKED)), time.monotonic()
    counter = _counter(model)
    agents: dict[str, LearningAgent] = {}

    def open_side(side: Side) -> LearningAgent:
        agents[side] = _side(side, made, out, model, counter)
        ctx.call_on_close(agents[side].close)
        return agents[side]

    limits = Limits(sleep_calls=SLEEP_CALLS, instruction_calls=INSTRUCTION_CALLS)
    try:
        outcomes = run_attack(made, open_side, sides=("clean", "insider"), limits=limits, on_event=_told_progress)
    except KeyboardInterrupt:
        click.echo("\ninterrupted; run it again to begin anew", err=True)
        ctx.exit(130)
    seconds = time.monotonic() - started
    report = attack_report(made, outcomes, seed=seed, model=counter.profile.model, usage=counter.usage, seconds=seconds)
    insider = agents["insider"]
    files = write_report(report, out, attack_text(report))
    files += write_context(insider.context(), insider.blame(), out / "context")
    here = " ".join(str(file.relative_to(out)) for file in files)
    after = "\n".join([f"Files in {out}: {here}", f"Go on: cd {shlex.quote(str(out))}; {_command()} log"])
    emit(lambda: {**report, "files": [str(file) for file in files]}, lambda: f"{attack_text(report)}\n\n{after}")


def _side(side: Side, made: Plan, out: Path, model: str, counter: CountingAgent) -> LearningAgent:
    """The agent of one side, on a store of its own: in the folder for the insider, in memory for the clean one."""
    from tokenspace.streams.attack import SABOTEUR
    from tokenspace.streams.desk import CARELESS, TEACHERS

    if side == "insider":
        return _prepare(out, made.labels, model, counter, also=[SABOTEUR])
    values = {"agent": AGENT, "principal": PRINCIPAL, "teachers": [*TEACHERS, CARELESS, PRINCIPAL]}
    return _opened(values, "memory:", out, counter)


def _told_progress(event: Progress) -> None:
    """A line now and then: how far it is, and how many answers were right so far."""
    from tokenspace.streams.attack_report import SIDES

    if not (given().json or given().quiet) and (event.done % EVERY == 0 or event.done == event.total):
        click.echo(f"{SIDES[event.side]:<30} {event.phase:<9}{event.done:>4}/{event.total}, {event.right} right")


# ── the folder ──────────────────────────────────────────────────────────────────────────────


def _counter(model: str) -> CountingAgent:
    from tokenspace.agents import ChatAgent
    from tokenspace.models import resolve
    from tokenspace.streams.desk import CountingAgent

    return CountingAgent(ChatAgent(resolve(model)))


def _prepare(
    out: Path, labels: Sequence[str], model: str, counter: CountingAgent, *, also: Sequence[str] = ()
) -> LearningAgent:
    """An empty project in the folder, and an agent on it that counts what it asks; `also` may teach, too."""
    from tokenspace.cli.project import config_text
    from tokenspace.config import HOME
    from tokenspace.streams.desk import CARELESS, SYSTEM, TEACHERS

    _clear(out)
    home = out / HOME
    home.mkdir(parents=True)
    values: dict[str, Any] = {
        "agent": AGENT,
        "model": str(Path(model).resolve()) if model.endswith(".gguf") else model,
        "principal": PRINCIPAL,
        "teachers": [*TEACHERS, CARELESS, PRINCIPAL, *also],
    }
    defaults = {"system": SYSTEM, "choices": list(labels)}
    (home / "config.toml").write_text(config_text({**values, **defaults}, title=TITLE), "utf-8")
    return _opened(values, f"sqlite:///{home.resolve() / 'store.db'}", out, counter)


def _opened(values: dict[str, Any], store: str, out: Path, counter: CountingAgent) -> LearningAgent:
    from tokenspace.api import LearningAgent
    from tokenspace.config import build, load
    from tokenspace.domain import Scope
    from tokenspace.store import open_store

    settings = load({**values, "store": store, "tenant": "", "user": ""}, start=out)
    parts = build(settings, model=counter, store=open_store(store))
    return LearningAgent(parts, Scope(agent=AGENT), principal=PRINCIPAL)


def _clear(out: Path) -> None:
    """Remove what an earlier demo left. Raises `UsageError` for a folder of somebody else."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file", hint="name a folder: --out DIR")
    if not any(out.iterdir()):
        return
    if not _is_ours(out):
        raise UsageError(
            f"{out} is not empty, and no demo made it", hint="name another folder: --out DIR; nothing was changed"
        )
    for name in MADE:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_ours(out: Path) -> bool:
    try:
        if (out / ".tokenspace" / "config.toml").is_file():
            return TITLE in (out / ".tokenspace" / "config.toml").read_text("utf-8")
        return bool({"learned_exam", "clean_exam"} & set(json.loads((out / "report.json").read_text("utf-8"))))
    except (OSError, ValueError, TypeError):
        return False


def _write(
    agent: LearningAgent, result: Result, out: Path, *, seed: int, model: str
) -> tuple[dict[str, Any], list[Path], str]:
    """The files of a finished run; the report, their paths and a remark about what could not be made."""
    from tokenspace.streams import plot
    from tokenspace.streams.report import report, write_context, write_report

    data = report(result, seed=seed, model=model)
    files = write_report(data, out) + write_context(agent.context(), agent.blame(), out / "context")
    if not plot.available():
        return data, files, "no picture of the learning curve: pip install 'tokenspace[plot]'"
    return data, files + plot.write_plot(result, out), ""


# ── what to do next ─────────────────────────────────────────────────────────────────────────


def _ending(report: dict[str, Any], files: Sequence[Path], out: Path, drawn: Draw, data: Path | None) -> str:
    from tokenspace.streams.report import end_text

    here = " ".join(str(file.relative_to(out)) for file in files)
    command = _command()
    question = QUESTION if data is None else " ".join(drawn.exam[0].text.split())[:80]
    after = [
        f"cd {shlex.quote(str(out))}",
        f"{command} log",
        f"{command} context --blame",
        f"{command} ask {shlex.quote(question)}",
    ]
    heading: Callable[[str], str] = lambda text: click.style(text, bold=True)  # noqa: E731 - one line says it
    text = "\n".join(line if line.startswith(" ") else heading(line) for line in end_text(report).split("\n"))
    return "\n".join(
        [text, "", heading(f"Files in {out}:"), f"  {here}", "", heading("Go on:"), *(f"  {one}" for one in after)]
    )


def _command() -> str:
    """How this program is called from any folder."""
    if shutil.which("tokenspace"):
        return "tokenspace"
    beside = Path(sys.prefix) / "bin" / "tokenspace"
    called = Path(sys.argv[0]).absolute()
    if called.name == "tokenspace" and called.is_file():
        return shlex.quote(str(called))
    return shlex.quote(str(beside)) if beside.is_file() else f"{shlex.quote(sys.executable)} -m tokenspace"
