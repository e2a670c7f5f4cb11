"""Options that several commands of `synth` share."""

import math
from pathlib import Path
from typing import Annotated

import typer

from synth.llm.settings import ChatSettings

LLM = "Engine llm (any server that speaks the OpenAI chat API)"
DEFAULTS = ChatSettings()

Engine = Annotated[str, typer.Option(help="llm, or builtin: by rule, without key and network.")]
Patterns = Annotated[
    Path, typer.Argument(help="Folder with registry.json, as `synth distill` writes it.", show_default=False)
]
UnsafeSandbox = Annotated[
    bool,
    typer.Option(
        "--unsafe-sandbox",
        help="Run generated code although this machine cannot shut it in (see synth doctor).",
    ),
]
Prompt = Annotated[
    Path | None,
    typer.Option(
        help="Your own prompt file instead of the one of this version.",
        show_default=False,
        rich_help_panel=LLM,
    ),
]
Tries = Annotated[
    int,
    typer.Option(
        min=0, help="How often an answer that fails goes back with the reason.", rich_help_panel=LLM
    ),
]
BaseUrl = Annotated[str, typer.Option(help="Of the API.", rich_help_panel=LLM)]
Model = Annotated[str, typer.Option(help="As the server calls it.", rich_help_panel=LLM)]
KeyEnv = Annotated[
    str,
    typer.Option(help="Environment variable that holds the key; else OPENAI_API_KEY.", rich_help_panel=LLM),
]
JsonMode = Annotated[
    str,
    typer.Option(
        help="schema, object (JSON without schema), text, or auto: the first that the server takes.",
        rich_help_panel=LLM,
    ),
]


def _temperature(text: str) -> float | None:
    if str(text).lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{text!r} is neither a number from 0 nor none")
    return value


Temperature = Annotated[
    float | None,
    typer.Option(
        parser=_temperature,
        metavar="NUMBER|none",
        help="Of sampling; none sends none, for models that take none.",
        rich_help_panel=LLM,
    ),
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer.", rich_help_panel=LLM)]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.", rich_help_panel=LLM)]
Retries = Annotated[
    int, typer.Option(min=0, help="After 429, 5xx, timeouts and dropped connections.", rich_help_panel=LLM)
]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests at once.", rich_help_panel=LLM)]
Budget = Annotated[
    float | None,
    typer.Option(min=0, help="USD; stop before it is passed.", show_default=False, rich_help_panel=LLM),
]
PriceIn = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="USD per million prompt tokens. \\[default: known for the default model]",
        show_default=False,
        rich_help_panel=LLM,
    ),
]
PriceOut = Annotated[
    float | None,
    typer.Option(min=0, help="USD per million tokens of answers.", show_default=False, rich_help_panel=LLM),
]


def chat_settings(
    base_url: str,
    model: str,
    key_env: str,
    json_mode: str,
    temperature: float | None,
    max_tokens: int,
    timeout: float,
    retries: int,
    concurrency: int,
    budget: float | None,
    price_in: float | None,
    price_out: float | None,
) -> ChatSettings:
    """The flags as settings."""
    return ChatSettings(
        base_url=base_url,
        model=model,
        api_key_env=key_env,
        json_mode=json_mode,  # type: ignore[arg-type]
        temperature=temperature,
        max_tokens=max_tokens,
        timeout_s=timeout,
        max_retries=retries,
        concurrency=concurrency,
        budget=budget,
        price_in=price_in,
        price_out=price_out,
    )
