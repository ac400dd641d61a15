"""What all local Gradio pages share: nothing is told to anybody, nothing is fetched, and the address is the user's own."""

from __future__ import annotations

import os
from typing import Any

# Gradio and the hub's client read these when they are imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

__all__ = ["gr", "launch"]


def launch(page: gr.Blocks, host: str, port: int, *, block: bool, **options: Any) -> str:
    """Serve a page and return its address; with `block` when it ends. `options` are those of `gr.Blocks.launch`."""
    fonts = ["system-ui", "sans-serif"]  # those of the machine: a theme's own would be fetched from the network
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=not block,
        footer_links=[],
        ssr_mode=False,
        theme=gr.themes.Base(font=fonts, font_mono=["monospace"]),
        **options,
    )
    return str(address)
