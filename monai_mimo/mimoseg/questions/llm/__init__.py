"""Questions of perspectives III and IV by a language model, behind any OpenAI-compatible endpoint."""

from .cache import AnswerCache
from .client import Endpoint
from .progress import Plan
from .writer import LlmWriter

__all__ = ["AnswerCache", "Endpoint", "LlmWriter", "Plan"]
