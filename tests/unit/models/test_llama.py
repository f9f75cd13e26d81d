"""The in-process model: what needs no weights first, then slow tests with the embedded ones."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from importlib import import_module

import pytest

from tokenspace.budget import Budget
from tokenspace.errors import BudgetExceeded, ModelError, ModelUnavailable
from tokenspace.models import LlamaModel, OpenAIModel
from tokenspace.models.llama import grammar

EXAMPLES = (
    ("When does my card arrive?", "heron"),
    ("The rate you applied is bad", "lynx"),
    ("my card is still not here", "heron"),
    ("my top-up did not go through", "otter"),
)
ODD = ("heron", 'a "b" \\ c', "ötter 😀", "two\nlines", 'x" | "y')

needs_weights = pytest.mark.skipif(LlamaModel.available() is not None, reason=str(LlamaModel.available()))


def test_a_grammar_has_exactly_the_choices_as_literals():
    assert grammar(["a", 'q"\\\n', "é"]) == 'root ::= "a" | "q\\x22\\x5C\\x0A" | "é"'


def test_making_one_loads_nothing_and_says_what_is_missing(tmp_path, prompt, ask):
    model, budget = LlamaModel(tmp_path / "none.gguf"), Budget(calls=1, tokens=1_000)
    assert "no file" in (LlamaModel.available(tmp_path / "none.gguf") or "")
    with pytest.raises(ModelUnavailable) as caught:
        ask(model, prompt(), budget)
    assert "--model" in caught.value.hint
    assert budget.left("tokens") == 1_000


def test_a_missing_library_is_said_in_words(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "xllamacpp" in (LlamaModel.available() or "")


def test_importing_models_loads_no_heavy_library():
    code = "import sys, tokenspace.models; print(sorted({'xllamacpp', 'httpx', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_other_weights_and_prefix_reuse_have_other_profiles(tmp_path):
    for size in (3, 4):
        (tmp_path / "w.Q4_1.gguf").write_bytes(b"x" * size)
        assert LlamaModel(tmp_path / "w.Q4_1.gguf").profile.model == f"w@{size}"
    assert LlamaModel().profile.deterministic
    assert not LlamaModel(reuse_prefix=True).profile.deterministic


@pytest.fixture(scope="module")
def llama():
    """The embedded model, loaded once for this file."""
    return LlamaModel(threads=1)


@pytest.mark.slow
@needs_weights
def test_answers_within_the_choices_from_four_examples(llama, prompt, ask):
    budget = Budget(calls=2)
    run = ask(llama, prompt("Where is my card?", *EXAMPLES, choices=("heron", "lynx", "otter")), budget)
    assert run.output == "heron"
    assert 60 < run.usage.input_tokens < 160
    assert budget.usage == run.usage
    assert "GOMP_SPINCOUNT" not in os.environ
    again = ask(llama, prompt("Where is my card?", *EXAMPLES, choices=("heron", "lynx", "otter")), seed=7)
    assert again.output == run.output


@pytest.mark.slow
@needs_weights
def test_odd_choices_survive_the_grammar(llama, prompt, ask):
    for choice in ODD:
        assert ask(llama, prompt(choices=(choice,))).output == choice


@pytest.mark.slow
@needs_weights
def test_a_schema_is_enforced(llama, prompt, ask):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    assert json.loads(ask(llama, prompt(schema=schema)).output)["n"] in (1, 2)


@pytest.mark.slow
@needs_weights
def test_requests_that_cannot_be_answered_are_typed_errors(llama, prompt, ask):
    for bad in (prompt(schema={"type": "nonsense"}), prompt("hi " * 6_000), prompt("a\ud800b"), prompt(choices=())):
        with pytest.raises(ModelError) as caught:
            ask(llama, bad)
        assert caught.value.hint
    with pytest.raises(ModelError, match="cut off"):
        ask(llama, prompt("Tell me a long story.", max_output_tokens=3))
    assert ask(llama, prompt(choices=("a",))).output == "a"


@pytest.mark.slow
@needs_weights
def test_i6_i12_the_profile_bounds_the_tokens_of_real_prompts(llama, prompt, ask):
    texts = [
        "a",
        "4929 1234 5678 9012",
        "Wo ist meine Überweisung? Schöne Grüße!",
        "😀🎉👩‍👩‍👧‍👦🔥💳",
        "1" * 300,
        "\x01\x02",
        "我的银行卡在哪里？",
        "{}[]",
    ]
    for text in texts:
        asked = prompt(text, ("a", "b"), system="", choices=("a",))
        bound = sum(llama.profile.count_tokens(message.text) for message in asked.messages)
        bound += llama.profile.tokens_per_message * (len(asked.messages) + 1)
        assert ask(llama, asked).usage.input_tokens <= bound


@pytest.mark.slow
@needs_weights
def test_i12_concurrent_calls_share_one_budget(llama, prompt):
    budget = Budget(calls=2)

    async def storm():
        asked = prompt(choices=("a",))
        return await asyncio.gather(*(llama.complete(asked, budget=budget) for _ in range(4)), return_exceptions=True)

    assert sum(isinstance(one, BudgetExceeded) for one in asyncio.run(storm())) == 2


@pytest.mark.slow
@needs_weights
def test_the_librarys_own_listener_is_closed_to_others(llama, prompt, ask):
    import httpx

    ask(llama, prompt(choices=("a",)))
    with httpx.Client(base_url=llama._server.listening_address, trust_env=False) as client:
        assert client.post("/tokenize", json={"content": "x"}).status_code == 401


@pytest.mark.slow
@needs_weights
def test_openai_model_talks_to_a_real_server(prompt, ask):
    from tokenspace.models.llama import _embedded

    library = import_module("xllamacpp")
    params = library.CommonParams()
    params.model.path, params.verbosity, params.n_ctx, params.n_parallel = str(_embedded()), 0, 2048, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.api_keys = ["sk-test"]
    server = library.Server(params)
    model = OpenAIModel("smollm2", base_url=server.listening_address + "/v1", api_key="sk-test")
    run = ask(model, prompt("Where is my card?", *EXAMPLES, choices=("heron", "lynx", "otter")))
    assert run.output in ("heron", "lynx", "otter")
    assert run.usage.input_tokens > 60
    with pytest.raises(ModelError):
        ask(OpenAIModel("smollm2", base_url=server.listening_address + "/v1", api_key="no"), prompt())
