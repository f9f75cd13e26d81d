"""Talking to models. Importing this opens nothing and loads no weights."""

from __future__ import annotations

from tokenspace.models.anthropic import AnthropicModel
from tokenspace.models.llama import LlamaModel
from tokenspace.models.nearest import NearestModel
from tokenspace.models.openai import OpenAIModel
from tokenspace.models.registry import ModelInfo, available, resolve
from tokenspace.models.scripted import ScriptedModel

__all__ = [
    "AnthropicModel",
    "LlamaModel",
    "ModelInfo",
    "NearestModel",
    "OpenAIModel",
    "ScriptedModel",
    "available",
    "resolve",
]
