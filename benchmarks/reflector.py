"""What comes of a reflector of known skill, with the gate and without it.

    python benchmarks/reflector.py [--quick] [--seeds N] [--out FILE]

Real are the store, the loop, sleep, recall, `ReplayGate` as it is set by default, and the proposers `reflect`,
`contrast`, `rewrite`, `skill` and `consolidate` with their structured answers. Modelled are the two who would be
language models:

* **The desk.** Requests are about one of TOPICS topics, and each topic has one right team. Of some topics the desk
  knows the team (right in 9 of 10 answers), of the others it guesses (1 in 5). A rule or instruction that says where
  requests about a topic go, right or wrong, is obeyed 95 % of the time, and so is one that sends everything to a team.
  The dice are thrown for each live request and each run index of a replay, and lie the same under two prompts.
* **The reflector.** Each answer is right with probability p (it says where requests about the failing topic go, or puts
  a wrong rule right), useless with q (good manners), harmful with r, and else no usable JSON. A *hostile* one is right
  in 1 of 10 answers and harmful in 7. Harm comes in four forms: everything to the team of the failures (which mends the
  very failures that caused it), a wrong team for the topic, a right rule turned wrong or dropped, and a right rule with
  a wrong one for another topic beside it.

The user says after each answer whether it was right, or which team would have been. After every round of requests
comes a sleep. An edit is *harmful* if it lowers the desk's true accuracy, which the model of the desk says exactly, by
more than .01 at the time when it is accepted; `harmful_served` counts those that reached the served line or a canary.
The arm without a gate applies every edit that is valid, in the same stream with the same draws. Accuracies are the
true ones of the served line; `accuracy_curve_N` after N sleeps. Intervals are ± 1.96 standard errors over seeds.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import _report
from tokenspace import loop
from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.domain import (
    Context,
    Edit,
    Entry,
    Feedback,
    Kind,
    Message,
    Origin,
    Profile,
    Prompt,
    Proposal,
    Put,
    Request,
    Run,
    Scope,
    Signal,
    Verdict,
    digest,
)
from tokenspace.gates import GateSettings, ReplayGate
from tokenspace.graders import build
from tokenspace.models import ScriptedModel
from tokenspace.proposers import Asker, Consolidate, Contrast, Reflect, Rewrite, Skill
from tokenspace.protocols import Gate
from tokenspace.recall import HashEmbedder, HybridRecall
from tokenspace.store import open_store

TOPICS = ("refunds", "invoices", "passwords", "deliveries", "warranties", "newsletters")
TEAMS = ("Kestrel", "Basalt", "Heron", "Quartz", "Falcon")
KNOWN = 2
KNOWS, GUESSES, OBEYS = 0.9, 0.2, 0.95
SKILL = {"right": 0.45, "useless": 0.2, "harmful": 0.25}
HOSTILE = {"right": 0.1, "useless": 0.1, "harmful": 0.7}
HARMS = ("everything", "wrong team", "turned", "beside")
MANNERS = ("Greet politely.", "Thank the customer.", "Be friendly.", "Sign with your name.", "Wish a good day.")
ROUNDS, REQUESTS, REPEATED = 5, 48, 0.25
LEAST_HARM = 0.01

USER = Scope(agent="desk", tenant="acme", user="alice")
DESK = Profile(model="desk", context_tokens=1_000_000, core_tokens=100_000, rule_floor=0.3)
INSTRUCTION = "You are the desk. Answer each request with the name of the team that it goes to."
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

_SENT = re.compile(r"Requests about (\w+) go to (\w+)\.")
_ALL = re.compile(r"Everything goes to (\w+)\.")
_ABOUT = re.compile(r"about my (\w+)")


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--seeds", type=int, help="default: 8, or 5 with --quick")
    args = parser.parse_args()
    seeds = range(args.seeds or (5 if args.quick else 8))
    arms = {
        "": [World(seed, SKILL, gated=True).live() for seed in seeds],
        "_without_gate": [World(seed, SKILL, gated=False).live() for seed in seeds],
        "_hostile": [World(seed, HOSTILE, gated=True).live() for seed in seeds],
        "_hostile_without_gate": [World(seed, HOSTILE, gated=False).live() for seed in seeds],
    }
    figures: dict[str, float] = {"seeds": len(seeds), "accuracy_start": mean(arms[""], 0)}
    for suffix, worlds in arms.items():
        figures |= {f"{key}{suffix}": value for key, value in summary(worlds).items()}
    header = ("", "gate", "every edit", "hostile, gate", "hostile, every edit")
    rows = [
        (f"after {place} sleeps", *(mean(worlds, place) for worlds in arms.values())) for place in range(ROUNDS + 1)
    ]
    _report.table("true accuracy of what is served", rows, header=header)
    names = ("harmful_served", "harmful_proposed", "right_served", "useless_served", "edits_proposed", "unusable")
    _report.table("edits, all seeds", [(name, *(figures[name + arm] for arm in arms)) for name in names], header=header)
    _report.write("reflector", figures, args)


def mean(worlds: Sequence[World], place: int) -> float:
    """Mean accuracy after so many sleeps."""
    return statistics.fmean(one.curve[place] for one in worlds)


def summary(worlds: Sequence[World]) -> dict[str, float]:
    """The figures of one arm."""
    ends = [one.curve[-1] for one in worlds]
    error = 1.96 * statistics.stdev(ends) / len(ends) ** 0.5 if len(ends) > 1 else 0.0
    figures: dict[str, float] = {"accuracy_end": statistics.fmean(ends), "accuracy_end_error": error}
    figures |= {f"accuracy_curve_{place}": mean(worlds, place) for place in range(len(worlds[0].curve))}
    total = sum((one.counts for one in worlds), Counter[str]())
    names = ("edits_proposed", "edits_served", "right_served", "useless_served", "harmful_proposed", "harmful_served")
    figures |= {name: total[name] for name in (*names, "unusable", "judge_calls", "reflector_calls")}
    drops = [
        max(0.0, before - after) for one in worlds for before, after in zip(one.curve, one.curve[1:], strict=False)
    ]
    return figures | {"largest_fall": max(drops)}


# ── the desk ────────────────────────────────────────────────────────────────────────────────


class Desk(ChatAgent):
    """Draws anew for every live request; a replay draws by its run index."""

    def __init__(self, model: ScriptedModel) -> None:
        super().__init__(model)
        self._live = count(1_000)

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """One live answer."""
        del seed
        return await super().run(prompt, budget=budget, seed=next(self._live))


class World:
    """One user's desk, its reflector, and a stream of requests."""

    def __init__(self, seed: int, skill: Mapping[str, float], *, gated: bool) -> None:
        self.rng = random.Random(f"stream {seed}")
        self.seed, seconds = seed, count()
        self.team = {topic: self.rng.choice(TEAMS) for topic in TOPICS}
        self.known = frozenset(self.rng.sample(TOPICS, KNOWN))
        self.asked, self.counts, self.curve = list[str](), Counter[str](), list[float]()

        def clock() -> datetime:
            return EPOCH + timedelta(seconds=next(seconds))

        self.desk = ScriptedModel(self.answer, profile=DESK)
        store, recall = open_store("memory:", clock=clock), HybridRecall(HashEmbedder())
        self.run = loop.Runtime(store=store, recall=recall, agent=Desk(self.desk), clock=clock)
        self.reflector = Reflector(f"reflector {seed}", self.team, skill)
        asker = Asker(model=ScriptedModel(self.reflector.answer), store=store)
        tidy = Consolidate(recall, store=store, clock=clock, asker=asker)
        self.proposers = (Reflect(asker), Contrast(asker), Rewrite(asker), Skill(asker, recall=recall), tidy)
        settings = GateSettings(operators=frozenset({"alice"}))
        inner: Gate = ReplayGate(self.run, build, settings=settings) if gated else Everything()
        self.gate = Watched(inner, self)
        put = Put(entry=Entry(kind=Kind.INSTRUCTION, doc="agents", text=INSTRUCTION, origin=Origin.OPERATOR))
        verdict = Verdict(decision="accept", basis="human")
        store.commit(USER, Edit(ops=(put,)), verdict, expect=None, author="alice")

    def live(self) -> World:
        """Rounds of requests, each followed by a sleep."""
        self.curve.append(self.accuracy(self.served))
        for _ in range(ROUNDS):
            for _ in range(REQUESTS):
                self.request()
            asyncio.run(self.sleep())
            self.curve.append(self.accuracy(self.served))
        self.run.store.close()
        return self

    def request(self) -> None:
        """One live request, and what the user says about the answer."""
        again = self.asked and self.rng.random() < REPEATED
        text = self.rng.choice(self.asked) if again else question(self.rng, len(self.asked))
        if not again:
            self.asked.append(text)
        asked = Request(messages=(Message(role="user", text=text),))
        episode = asyncio.run(loop.act(self.run, USER, asked, budget=Budget()))
        right = self.team[topic_of(text)]
        told: dict[str, Any] = {"signal": Signal.CORRECTION, "value": right}
        told = {"signal": Signal.LABEL, "value": True} if episode.output == right else told
        said = Feedback(
            id=digest([self.seed, len(self.run.store.feedback(USER))]), scope=USER, episode=episode.id,
            principal="alice", at=self.run.clock(), **told,
        )  # fmt: skip
        loop.observe(self.run, said)

    async def sleep(self) -> None:
        """All proposers, on what was said until now."""
        budget = Budget()
        async for attempt in loop.sleep(self.run, USER, self.proposers, self.gate, budget=budget, again=budget):
            self.counts["unusable"] += attempt.verdict.reason.startswith("the proposal cannot be used")
        self.counts["reflector_calls"] = self.reflector.calls

    @property
    def served(self) -> Context:
        """The context of the served line."""
        return self.run.store.context(USER, self.run.store.heads(USER))

    def answer(self, prompt: Prompt, seed: int) -> str:
        """What the desk says: right with the chance that the prompt gives it."""
        asked = prompt.messages[-1].text.rsplit("\n", 1)[-1]
        rng = random.Random(f"{self.seed} {asked} {seed}")
        topic, sent = topic_of(asked), self.sent(prompt)
        if sent is not None and rng.random() < OBEYS:
            return sent
        right = self.team[topic]
        if rng.random() < (KNOWS if topic in self.known else GUESSES):
            return right
        return rng.choice([team for team in TEAMS if team != right])

    def sent(self, prompt: Prompt) -> str | None:
        """The team that the prompt sends its request to: the last that is said of everything, or else of its topic."""
        text = "\n".join((prompt.system, *(message.text for message in prompt.messages)))
        everything = _ALL.findall(text)
        said = dict(_SENT.findall(text))
        return everything[-1] if everything else said.get(topic_of(prompt.messages[-1].text))

    def chance(self, prompt: Prompt) -> float:
        """How likely the desk's answer is right."""
        topic, sent = topic_of(prompt.messages[-1].text), self.sent(prompt)
        alone = KNOWS if topic in self.known else GUESSES
        if sent is None:
            return alone
        return OBEYS * (sent == self.team[topic]) + (1 - OBEYS) * alone

    def accuracy(self, context: Context) -> float:
        """The exact chance of a right answer, over fresh requests of all topics."""
        now = self.run.clock()
        asked = [f"{topic} new: about my {topic}" for topic in TOPICS]
        prompts = (
            loop.render(
                self.run.recall, context, Request(messages=(Message(role="user", text=text),)), profile=DESK, now=now
            )
            for text in asked
        )
        return statistics.fmean(map(self.chance, prompts))


def question(rng: random.Random, number: int) -> str:
    """A new request."""
    topic = rng.choice(TOPICS)
    return f"{topic} {number}: about my {topic}"


def topic_of(text: str) -> str:
    """What a request is about: the last topic that it names."""
    return _ABOUT.findall(text)[-1]


# ── gates ───────────────────────────────────────────────────────────────────────────────────


class Everything:
    """No gate: every edit is served."""

    name = "everything@1"

    async def judge(self, proposal: Proposal, *, budget: Budget) -> Verdict:
        """Accept."""
        del proposal, budget
        return Verdict(decision="accept", basis="policy", reason="every edit is applied")


class Watched:
    """A gate, and the true effect of what it lets through."""

    def __init__(self, gate: Gate, world: World) -> None:
        self._gate, self._world = gate, world
        self.name = gate.name

    async def judge(self, proposal: Proposal, *, budget: Budget) -> Verdict:
        """The verdict of the gate."""
        world, before = self._world, len(self._world.desk.seeds)
        verdict = await self._gate.judge(proposal, budget=budget)
        effect = world.accuracy(proposal.candidate) - world.accuracy(proposal.incumbent)
        what = "harmful" if effect < -LEAST_HARM else "right" if effect > LEAST_HARM else "useless"
        fate = ("proposed",) if verdict.decision != "accept" else ("proposed", "served")
        for name in fate:
            world.counts.update((f"edits_{name}", f"{what}_{name}"))
        world.counts["judge_calls"] += len(world.desk.seeds) - before
        return verdict


# ── the reflector ───────────────────────────────────────────────────────────────────────────


class Reflector:
    """Answers the questions of the proposers with a known skill, reading only what it is told."""

    def __init__(self, seed: str, team: Mapping[str, str], skill: Mapping[str, float]) -> None:
        self._rng, self._team, self._skill, self.calls = random.Random(seed), team, skill, 0

    def answer(self, prompt: Prompt, seed: int) -> str:
        """One answer by the schema of the proposer that asks."""
        del seed
        self.calls += 1
        told: dict[str, Any] = json.loads(prompt.messages[0].text)
        weights = [*self._skill.values(), 1 - sum(self._skill.values())]
        skill = self._rng.choices([*self._skill, "none"], weights)[0]
        harm = self._rng.choice(HARMS) if skill == "harmful" else ""
        if skill == "none":
            return '{"diagnosis": "The desk did not know'
        if "groups" in told:
            return json.dumps(self._contrast(told, skill, harm))
        if "notes" in told:
            return json.dumps(self._join(told, skill, harm))
        if "task" in told:
            return json.dumps(self._course(told, skill, harm))
        if "instruction" in told:
            return json.dumps(self._rewrite(told, skill, harm))
        assert prompt.schema is not None
        may_change = prompt.schema["properties"]["operations"]["items"]["properties"]["entry"]["enum"]
        return json.dumps(self._reflect(told, may_change, skill, harm))

    def _sentence(self, topic: str, skill: str, harm: str) -> str:
        """One rule of this skill for a failing topic."""
        right = self._team[topic]
        if skill == "useless":
            return self._rng.choice(MANNERS)
        if harm in ("everything", "beside"):
            return f"Everything goes to {right}."
        wrong = self._rng.choice([team for team in TEAMS if team != right])
        return f"Requests about {topic} go to {wrong if harm else right}."

    def _trigger(self, text: str) -> str | None:
        """The kind of request that a rule is for; one in four is for all, as models forget."""
        found = _SENT.search(text)
        return f"about my {found[1]}" if found and self._rng.random() < 0.75 else None

    def _reflect(self, told: Mapping[str, Any], may_change: Sequence[str], skill: str, harm: str) -> dict[str, Any]:
        failures = told["failures"]
        topic = Counter(topic_of(one["request"]) for one in failures).most_common(1)[0][0]
        because = [one["id"] for one in failures if topic_of(one["request"]) == topic]
        rules = {
            one["id"]: found.groups()
            for one in (*told["activated"], *told["standing"])
            if (found := _SENT.search(one["text"]))
        }
        rules = {id: found for id, found in rules.items() if id in may_change}
        text = self._sentence(topic, skill, "" if harm == "beside" else harm)
        add = {"op": "add", "entry": None, "trigger": self._trigger(text), "text": text, "because": because}
        operations = [add]
        mistaken = [id for id, (about, team) in rules.items() if about == topic and team != self._team[topic]]
        if skill == "right" and mistaken:
            operations = [{**add, "op": "patch", "entry": mistaken[0]}]
        sound = [id for id, (about, team) in rules.items() if team == self._team[about]]
        if harm == "turned" and sound:
            about, _ = rules[sound[0]]
            turned = {"trigger": None, "text": self._sentence(about, skill, harm), "op": "patch"}
            gone = {"trigger": None, "text": None, "op": "drop"}
            operations = [{**add, "entry": sound[0], **self._rng.choice((turned, gone))}]
        if harm == "beside":
            other = self._rng.choice([one for one in TOPICS if one != topic])
            worse = self._sentence(other, skill, "wrong team")
            operations = [add, {**add, "text": worse, "trigger": self._trigger(worse)}]
        return {"diagnosis": skill, "operations": operations}

    def _contrast(self, told: Mapping[str, Any], skill: str, harm: str) -> dict[str, Any]:
        group = told["groups"][0]
        text = self._sentence(topic_of(group["request"]), skill, harm)
        rule = {"trigger": self._trigger(text), "text": text}
        return {"difference": skill, "rule": rule, "because": [group["id"]]}

    def _rewrite(self, told: Mapping[str, Any], skill: str, harm: str) -> dict[str, Any]:
        topic = topic_of(told["failures"][-1]["request"])
        because = [one["id"] for one in told["failures"] if topic_of(one["request"]) == topic]
        text = f"{told['instruction']} {self._sentence(topic, skill, harm)}"
        return {"diagnosis": skill, "text": text, "because": because}

    def _course(self, told: Mapping[str, Any], skill: str, harm: str) -> dict[str, Any]:
        """What a skill is for stands in every prompt, so that it can say where requests go; a split makes two."""
        made: list[dict[str, Any]] = []
        for part in ("successes",) if told["task"] == "crystallise" else ("right", "wrong"):
            shown = told[part]
            text = self._sentence(topic_of(shown[0]["request"]), skill, harm)
            fields = {"name": f"answer-{self.calls}-{part}", "description": text, "parameters": [], "preconditions": []}
            made.append({**fields, "steps": ["Answer."], "because": [one["id"] for one in shown]})
        return {"reason": skill, "skills": made}

    def _join(self, told: Mapping[str, Any], skill: str, harm: str) -> dict[str, Any]:
        """The notes in fewer words: each once; or only some of them; or what one of them does not say."""
        notes = list(dict.fromkeys(told["notes"]))
        about = [found[1] for found in map(_SENT.search, notes) if found]
        if harm and about:
            return {"text": self._sentence(about[0], skill, harm)}
        return {"text": " ".join(notes if skill == "right" else notes[:1])}


if __name__ == "__main__":
    main()
