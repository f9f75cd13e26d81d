from __future__ import annotations

import pytest

from tokenspace.errors import UsageError
from tokenspace.models import AnthropicModel, LlamaModel, NearestModel, OpenAIModel, registry


@pytest.fixture
def nobody(monkeypatch):
    """No server on this machine."""
    monkeypatch.setattr(registry, "_listed", lambda base_url: None)


def test_resolves_every_documented_form(tmp_path):
    keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "OPENROUTER_API_KEY": "k"}
    weights = tmp_path / "tiny-2.5-Q4_1.gguf"
    weights.write_bytes(b"1234")
    forms = {
        "local": LlamaModel,
        "nearest": NearestModel,
        "ollama/llama3.2": OpenAIModel,
        "lmstudio/a/b": OpenAIModel,
        "llamacpp/default": OpenAIModel,
        "openai/gpt-4.1-mini": OpenAIModel,
        "openrouter/meta/llama": OpenAIModel,
        "anthropic/claude-x": AnthropicModel,
        "http://127.0.0.1:1/v1#org/model": OpenAIModel,
        str(weights): LlamaModel,
    }
    for name, kind in forms.items():
        assert isinstance(registry.resolve(name, environ=keys), kind)
    assert registry.resolve("openai/gpt-4.1-mini", environ=keys).profile.context_tokens == 1_000_000
    assert registry.resolve("lmstudio/a/b", environ=keys).profile.model == "a/b"
    assert registry.resolve(str(weights)).profile.model == "tiny-2.5@4"


@pytest.mark.parametrize(
    "name", ["", "gpt-4", "openai/", "ollama", "nope/x", "x" * 10_000, "missing.gguf", "http://h/v1"]
)
def test_an_unknown_name_is_a_usage_error_that_helps(nobody, name):
    with pytest.raises(UsageError) as caught:
        registry.resolve(name, environ={})
    assert caught.value.hint
    assert len(str(caught.value)) < 200


def test_an_unknown_name_lists_what_is_ready(nobody):
    with pytest.raises(UsageError) as caught:
        registry.resolve("nope", environ={"OPENAI_API_KEY": "k"})
    assert "openai/gpt-4.1-mini" in caught.value.hint
    assert "anthropic" not in caught.value.hint


def test_a_missing_key_names_its_variable():
    with pytest.raises(UsageError) as caught:
        registry.resolve("anthropic/claude-x", environ={})
    assert "ANTHROPIC_API_KEY" in caught.value.hint


def test_available_says_for_each_what_to_do(nobody):
    found = {
        info.name.split("/")[0]: info for info in registry.available({"OPENROUTER_API_KEY": "k", "OPENAI_API_KEY": " "})
    }
    assert list(found) == ["local", "ollama", "lmstudio", "llamacpp", "openai", "anthropic", "openrouter", "nearest"]
    assert [name for name, info in found.items() if info.ready and name != "local"] == ["openrouter", "nearest"]
    assert all(info.what_to_do for info in found.values())
    assert "OPENAI_API_KEY" in found["openai"].what_to_do


def test_a_server_on_this_machine_is_found_with_its_models(serve, reply):
    fake = serve({"object": "list", "data": [{"id": "b"}, {"id": "a"}]})
    assert registry._listed(fake.url + "/v1") == ("a", "b")
    assert fake.paths == ["/v1/models"]
    for odd in (reply(b"garbage"), reply({}, status=404), reply({"data": 3}), reply([])):
        assert registry._listed(serve(odd).url) is None


def test_a_server_without_a_model_is_not_ready(monkeypatch):
    monkeypatch.setattr(registry, "_listed", lambda base_url: ())
    ollama = next(info for info in registry.available({}) if info.name.startswith("ollama"))
    assert not ollama.ready
    assert "without a model" in ollama.what_to_do


def test_the_probes_go_to_this_machine_only():
    assert all(server.base_url.startswith("http://127.0.0.1:") for server in registry.LOCAL)
