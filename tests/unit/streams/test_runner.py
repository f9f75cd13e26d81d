"""The prequential runner: scored before the update, resumable, the same result every time."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.errors import BadData
from tokenspace.models import resolve
from tokenspace.streams.config import ARMS, StreamConfig, read_config
from tokenspace.streams.metered import Metered
from tokenspace.streams.run import Cell, cells, identity, run_cell, run_stream
from tokenspace.streams.tasks import CARELESS, data_folder, make_stream

WORDS = {
    "parcel": ("parcel lost {} box", "where is parcel {}", "parcel {} late again"),
    "refund": ("money back for {}", "refund order {}", "please refund {} now"),
    "login": ("cannot login as {}", "password of {} forgotten", "login {} blocked"),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [f"{text.format(f'name{n}')},{label}" for label, texts in WORDS.items() for n in range(20) for text in texts]
    path = tmp_path / "tickets.csv"
    path.write_text("\n".join(["text,label", *rows]))
    return path


@pytest.fixture
def config(data: Path) -> StreamConfig:
    return StreamConfig(source=str(data), tasks=16, noise=0.1, sleep_every=8, hindsight=False)


def nearest() -> ChatAgent:
    model = resolve("nearest")
    assert not isinstance(model, str)
    return ChatAgent(model)


def cell(arm: str) -> Cell:
    return Cell(arm=arm, order=0, seed=1)


class Counted(ChatAgent):
    """Stops, as if it were killed, after so many calls."""

    def __init__(self, most: int) -> None:
        super().__init__(resolve("nearest"))
        self.most, self.asked = most, 0

    async def run(self, prompt, *, budget, seed=0):
        if self.asked == self.most:
            raise KeyboardInterrupt
        self.asked += 1
        return await super().run(prompt, budget=budget, seed=seed)


# ── tasks ───────────────────────────────────────────────────────────────────────────────────


def test_the_same_seed_draws_the_same_stream_and_an_order_only_reorders_it(config: StreamConfig) -> None:
    one, same = make_stream(config, order=0, seed=1), make_stream(config, order=0, seed=1)
    other = make_stream(config, order=1, seed=1)
    assert one == same
    assert [task.text for task in one.tasks] != [task.text for task in other.tasks]
    assert {task.text for task in one.tasks} == {task.text for task in other.tasks}


def test_careless_teachers_are_wrong_and_the_others_right(config: StreamConfig) -> None:
    stream = make_stream(replace(config, noise=0.25), order=0, seed=1)
    wrong = [task for task in stream.tasks if task.taught != task.label]
    assert len(wrong) == 4
    assert {task.teacher for task in wrong} == {CARELESS}
    assert CARELESS not in {task.teacher for task in stream.tasks if task.taught == task.label}


def test_labels_exchange_their_names_from_the_task_on_that_was_asked_for(config: StreamConfig) -> None:
    before = make_stream(config, order=0, seed=1).tasks
    after = make_stream(replace(config, relabel=3, relabel_at=10), order=0, seed=1).tasks
    assert [task.label for task in before[:10]] == [task.label for task in after[:10]]
    assert all(one.label != two.label for one, two in zip(before[10:], after[10:], strict=True))
    new = make_stream(replace(config, relabel=3, relabel_at=10, relabel_to="new"), order=0, seed=1)
    assert not {task.label for task in new.tasks[10:]} & set(WORDS)


def test_stages_share_no_label_and_exams_share_no_task(config: StreamConfig) -> None:
    stream = make_stream(replace(config, stages=3, exam=4), order=0, seed=1)
    assert [len(exam) for exam in stream.exams] == [4, 4, 4]
    by_stage = [{task.label for task in stream.tasks if task.stage == at} for at in range(3)]
    assert all(len(labels) == 1 for labels in by_stage)
    assert not {task.text for exam in stream.exams for task in exam} & {task.text for task in stream.tasks}


def test_absent_data_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKENSPACE_DATA", str(tmp_path))
    for source in ("banking77", "clinc150", "memprompt"):
        with pytest.raises(BadData) as caught:
            make_stream(StreamConfig(source=source), order=0, seed=1)
        assert "TOKENSPACE_DATA" in caught.value.hint


@pytest.mark.skipif(not (data_folder() / "clinc150").is_dir(), reason="TOKENSPACE_DATA has no clinc150")
def test_public_data_makes_streams() -> None:
    clinc = make_stream(StreamConfig(source="clinc150", labels=30, stages=5, tasks=50, exam=2), order=0, seed=1)
    assert len(clinc.tasks) == 50
    assert len(clinc.exams) == 5
    meant = make_stream(StreamConfig(source="memprompt", tasks=40, user="ana"), order=0, seed=1)
    assert meant.clarifies
    assert len({task.id for task in meant.tasks}) == 40


# ── cells ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_runs_and_shows_no_more_than_the_budget(config: StreamConfig, arm: str) -> None:
    track = run_cell(config, cell(arm), nearest())
    assert len(track.right) == config.tasks
    assert max(track.tokens) <= config.context_tokens
    assert track.usage["calls"] >= config.tasks - 1
    assert (max(track.shown) == 0) == (arm == "none")


@pytest.mark.slow
def test_the_first_answer_is_scored_before_anything_was_learned(config: StreamConfig) -> None:
    tracks = {arm: run_cell(config, cell(arm), nearest()) for arm in ("none", "nearest", "tokenspace")}
    assert len({track.right[0] for track in tracks.values()}) == 1
    assert all(track.shown[0] == 0 for track in tracks.values())


@pytest.mark.slow
def test_what_is_learned_beats_no_memory(config: StreamConfig) -> None:
    ours, none = (run_cell(config, cell(arm), nearest()) for arm in ("tokenspace", "none"))
    assert sum(ours.right) > sum(none.right)


def test_delayed_feedback_comes_so_many_tasks_later(config: StreamConfig) -> None:
    track = run_cell(replace(config, delay=5, noise=0.0), cell("nearest"), nearest())
    assert track.entries[:7] == [0, 0, 0, 0, 0, 0, 1]


def test_exams_are_asked_before_the_first_and_after_every_stage_and_cost_nothing(config: StreamConfig) -> None:
    plain = run_cell(replace(config, stages=3), cell("nearest"), nearest())
    examined = run_cell(replace(config, stages=3, exam=3), cell("nearest"), nearest())
    assert [len(row) for row in examined.exams] == [3, 3, 3, 3]
    assert examined.usage["calls"] == plain.usage["calls"]


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["tokenspace", "append"])
def test_a_run_that_was_killed_goes_on_and_ends_like_one_that_was_not(
    config: StreamConfig, arm: str, tmp_path: Path
) -> None:
    whole = run_cell(config, cell(arm), nearest())
    killed = Counted(10)
    with pytest.raises(KeyboardInterrupt):
        run_cell(config, cell(arm), killed, folder=tmp_path)
    again = Counted(1_000)
    resumed = run_cell(config, cell(arm), again, folder=tmp_path)
    assert replace(resumed, seconds=0) == replace(whole, seconds=0)
    assert killed.asked + again.asked == whole.usage["calls"]
    finished = Counted(0)
    assert run_cell(config, cell(arm), finished, folder=tmp_path).right == whole.right


def test_other_settings_are_another_cell_and_more_seeds_are_not(config: StreamConfig) -> None:
    assert identity(config) == identity(replace(config, seeds=(1, 2), name="other", window=7))
    assert identity(config) != identity(replace(config, noise=0.2))


def test_a_journal_whose_last_line_was_cut_off_is_read_up_to_it(tmp_path: Path, config: StreamConfig) -> None:
    journal = tmp_path / "cell.calls"
    journal.write_text(json.dumps(["key/0", "parcel", {"calls": 1}, "m"]) + '\n["half')
    metered = Metered(nearest(), limit=0, journal=journal)
    assert metered.asked_now == 0
    assert metered.usage.calls == 0


def test_a_deterministic_model_is_charged_once_for_a_prompt() -> None:
    from tokenspace.domain import Message, Prompt

    metered = Metered(nearest(), limit=500)
    prompt = Prompt(system="", messages=(Message(role="user", text="hello"),))
    for _ in range(3):
        asyncio.run(metered.run(prompt, budget=Budget()))
    assert (metered.usage.calls, metered.asked_now) == (1, 1)
    assert metered.profile.context_tokens == 500


def test_all_cells_of_a_run(config: StreamConfig) -> None:
    config = replace(config, tasks=6, arms=("none", "nearest"), seeds=(1, 2), orders=2)
    results = run_stream(config, nearest())
    assert list(results) == list(cells(config))
    assert len(results) == 8


# ── the file ────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "x"\n[data]\nsource = "a.csv"\ntasks = 10\n[run]\nseeds = [1, 2]\narms = ["none"]\n')
    config = read_config(path)
    assert (config.name, config.tasks, config.seeds, config.arms) == ("x", 10, (1, 2), ("none",))
    assert config.source == str(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[data]\nsauce = 1", "sauce"),
        ("[data]\ntasks = 'many'", "tasks"),
        ("[data]\ntasks = true", "tasks"),
        ("[data]\ntasks = 0", "tasks"),
        ("[data]\nnoise = 2.0", "noise"),
        ("[run]\nseeds = []", "seeds"),
        ("[run]\nseeds = ['a']", "seeds"),
        ("[run]\narms = ['magic']", "magic"),
        ("[data]\nrelabel_to = 'x'", "relabel_to"),
        ("[other]\nx = 1", "other"),
        ("data = 3", "data"),
        ("data", "TOML"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(BadData, match=named):
        read_config(path)


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(BadData):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "examples").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_examples_can_be_read(path: Path) -> None:
    assert read_config(path).tasks > 0
