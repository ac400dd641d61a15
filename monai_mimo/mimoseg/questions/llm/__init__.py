"""Questions of perspectives III and IV by a language model, behind any OpenAI-compatible endpoint."""

from .client import Endpoint
from .requests import AnswerCache, RequestPlan
from .run import LlmWriter

__all__ = ["AnswerCache", "Endpoint", "LlmWriter", "RequestPlan"]
